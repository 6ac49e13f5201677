"""The Pareto front of a run as a picture: the score against each cost."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasmeta.reporting.figures.architecture import EDGE
from nasmeta.reporting.figures.canvas import Figure, new_figure
from nasmeta.reporting.read.ranking import Measure, measure_of, value_of

if TYPE_CHECKING:
    from nasmeta.run.front import Front
    from nasmeta.trial import TrialResult

LABELS = {"params": "parameters", "flops": "FLOPs", "latency": "latency (ms)"}
SCORES: dict[Measure, str] = {"accuracy": "valid accuracy", "loss": "valid loss", "proxy": "proxy"}
FRONT = "#c0392b"


def front_figure(front: "Front", dominated: Sequence["TrialResult"]) -> Figure:
    """A panel for each cost, with the front in red and the other trials in grey.

    The front has a line if there is only one cost. The panel of the latency shows the front alone.
    """
    figure = new_figure(4.2 * len(front.objectives), 3.4)
    measure = measure_of([member.result for member in front.members])
    assert measure is not None, "what failed is on no front"

    def height(result: "TrialResult") -> float:
        value = value_of(result, measure)
        return math.nan if value is None else value

    for number, objective in enumerate(front.objectives, 1):
        axes = figure.add_subplot(1, len(front.objectives), number)
        if objective != "latency":
            costs = [getattr(result, objective) for result in dominated]
            axes.plot(costs, [height(result) for result in dominated], "o", color=EDGE, alpha=0.35, ms=4)
        points = sorted((m.costs[objective], height(m.result)) for m in front.members)
        line = "o-" if len(front.objectives) == 1 else "o"
        axes.plot(*zip(*points, strict=True), line, color=FRONT, ms=5, lw=1.2, drawstyle="steps-post")
        axes.set_xscale("log")
        axes.set_xlabel(LABELS[objective])
        axes.set_ylabel(SCORES[measure])
        axes.grid(alpha=0.25)
    return figure
