"""The Pareto front of a run as a picture: the score against each cost."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasmeta.reporting.figures import Figure, new_figure
from nasmeta.reporting.plots import EDGE

if TYPE_CHECKING:
    from nasmeta.evaluators.base import TrialResult
    from nasmeta.front import Front

LABELS = {"params": "parameters", "flops": "FLOPs", "latency": "latency (ms)"}
FRONT = "#c0392b"


def front_figure(front: "Front", dominated: Sequence["TrialResult"]) -> Figure:
    """A panel for each cost: the front in red, with a line where it is the only cost; other trials grey.

    Latencies of trials that are not on the front are not shown.
    """
    figure = new_figure(4.2 * len(front.objectives), 3.4)
    score = "valid accuracy" if front.members[0].result.valid_accuracy is not None else "valid loss"
    for number, objective in enumerate(front.objectives, 1):
        axes = figure.add_subplot(1, len(front.objectives), number)
        if objective != "latency":
            costs = [getattr(result, objective) for result in dominated]
            axes.plot(costs, [_height(result) for result in dominated], "o", color=EDGE, alpha=0.35, ms=4)
        points = sorted((m.costs[objective], _height(m.result)) for m in front.members)
        line = "o-" if len(front.objectives) == 1 else "o"
        axes.plot(*zip(*points, strict=True), line, color=FRONT, ms=5, lw=1.2, drawstyle="steps-post")
        axes.set_xscale("log")
        axes.set_xlabel(LABELS[objective])
        axes.set_ylabel(score)
        axes.grid(alpha=0.25)
    return figure


def _height(result: "TrialResult") -> float:
    value = result.valid_loss if result.valid_accuracy is None else result.valid_accuracy
    assert value is not None
    return value
