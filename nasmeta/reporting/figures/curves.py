"""The figures of a run: the search's curve, and score against cost.

Text that comes from a run is never rendered as a mathematical formula.
"""

from collections.abc import Sequence
from typing import Literal

from nasmeta.reporting.figures.canvas import (
    Axes,
    Figure,
    MaxNLocator,
    new_figure,
)
from nasmeta.reporting.figures.panel import (
    BEST,
    FRONT,
    LABELS,
    REFERENCE,
    TRIAL,
    drawable,
    height,
    legend,
    new_axes,
    panel,
    positive_axis,
    scale,
    short,
    unit,
)
from nasmeta.reporting.read.load import Run
from nasmeta.reporting.read.ranking import (
    Measure,
    best_so_far,
    front_of,
    longest_trained,
    measure_of,
    value_of,
)
from nasmeta.run.front import Front
from nasmeta.trial import TrialResult

Cost = Literal["params", "flops", "memory", "flash", "latency"]
COSTS: dict[str, str] = {
    "params": "parameters",
    "flops": "FLOPs of one forward pass",
    "memory": "activations of one example (KiB)",
    "flash": "deployed parameters (KiB)",
    "latency": "latency of one example (ms)",
}
COUNTS, BYTES = ("params", "flops"), ("memory", "flash")
MANY = 400
"""With more trials than this, points are drawn as pixels and without their intervals."""


def search_figure(run: Run, over: Literal["trials", "time"]) -> Figure | None:
    """Every trial's score with its 95% interval, and the best so far as a step line.

    The horizontal axis is the number of ended trials, or the time: wall time, or the training time that the
    trials of a table stand for. None if all trials failed.
    """
    results = run.results
    measure = measure_of(results)
    if measure is None:
        return None
    figure, axes = panel(LABELS[measure])
    places, unit = _places(run, over)
    points = [(x, r) for x, r in zip(places, results, strict=True) if value_of(r, measure) is not None]
    _draw_trials(axes, points, measure, longest_trained(results))
    best = [(x, b) for x, b in zip(places, best_so_far(results), strict=True) if b is not None]
    heights = [height(b, measure) for _, b in best]
    axes.step([x for x, _ in best], heights, where="post", color=BEST, lw=1.8, label="best so far", zorder=3)
    failed = [x for x, r in zip(places, results, strict=True) if r.status == "failed"]
    if failed:  # without a score there is no height: mark them on the axis
        at_bottom = axes.get_xaxis_transform()
        axes.plot(failed, [0.02] * len(failed), "x", color=FRONT, ms=5, transform=at_bottom, label="failed")
    axes.set_xlabel(unit)
    if over == "trials":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_xlim(left=0)
    scale(axes, [height(r, measure) for _, r in points], measure)
    legend(figure, axes)
    return figure


def cost_figure(run: Run, cost: Cost) -> Figure | None:
    """Score against a cost. The Pareto front of the two is red; networks trained in full are diamonds.

    None if no trial's cost is known.
    """
    measure = measure_of(run.results)
    known = [(place, r) for r in run.results if r.score is not None and (place := _cost(r, cost)) is not None]
    if measure is None or not known:
        return None
    figure, axes = panel(LABELS[measure])
    _draw_trials(axes, known, measure, longest_trained(run.results))
    front = front_of(run.results, lambda result: _cost(result, cost))
    places = {r.trial: place for place, r in known}
    x, y = [places[r.trial] for r in front], [height(r, measure) for r in front]
    axes.step(x, y, where="post", color=FRONT, lw=1.2, zorder=3)
    axes.plot(x, y, "o", color=FRONT, ms=5, zorder=4, label="Pareto front")
    _draw_kept(axes, run, cost, measure)
    heights = [height(r, measure) for _, r in known] + _draw_full(axes, run, cost, measure)
    _cost_axis(axes, cost, [x for x, _ in known])
    scale(axes, heights, measure)
    legend(figure, axes)
    return figure


def front_figure(front: Front, dominated: Sequence[TrialResult]) -> Figure:
    """The Pareto front of a run in red and its other trials in grey, with a panel for each cost.

    The front has a line if there is only one cost. The panel of the latency shows the front alone.
    """
    measure = measure_of([member.result for member in front.members])
    assert measure is not None, "what failed is on no front"
    figure = new_figure(4.2 * len(front.objectives), 3.4)
    for number, objective in enumerate(front.objectives, 1):
        axes = new_axes(figure, LABELS[measure], (1, len(front.objectives), number))
        if objective != "latency":
            costs = [getattr(result, objective) for result in dominated]
            axes.plot(costs, [height(r, measure) for r in dominated], "o", color=TRIAL, alpha=0.6, ms=4)
        points = sorted((m.costs[objective], height(m.result, measure)) for m in front.members)
        line = "o-" if len(front.objectives) == 1 else "o"
        axes.plot(*zip(*points, strict=True), line, color=FRONT, ms=5, lw=1.2, drawstyle="steps-post")
        _cost_axis(axes, objective, [x for x, _ in points])
    return figure


def _draw_trials(
    axes: Axes,
    points: Sequence[tuple[float, TrialResult]],
    measure: Measure,
    longest: Sequence[TrialResult],
) -> None:
    """Draws the longest trained trials as full points and the others as hollow ones.

    Intervals are drawn if there are few enough trials to read them.
    """
    numbers = {r.trial for r in longest}
    many = len(points) > MANY
    for full, label in ((True, "trial, 95% interval"), (False, "fewer iterations")):
        group = [(x, r) for x, r in points if (r.trial in numbers) == full]
        if not group:
            continue
        intervals = [drawable(unit(measure) * (r.valid_ci95 or 0.0)) for _, r in group]
        drawn = not many and measure != "proxy" and any(intervals)
        axes.errorbar(
            [x for x, _ in group],
            [height(r, measure) for _, r in group],
            yerr=intervals if drawn else None,
            fmt="o",
            ms=4,
            lw=0.8,
            color=TRIAL,
            mfc=TRIAL if full else "white",
            alpha=0.8,
            rasterized=many,
            label=label if drawn or not full else "trial",
        )


def _draw_kept(axes: Axes, run: Run, cost: Cost, measure: Measure) -> None:
    """Draws rings around the members of the front that a search with several objectives has stored."""
    results = {r.trial: r for r in run.results}
    kept = [results.get(member["trial"]) for member in (run.summary or {}).get("pareto") or []]
    points = [
        (place, height(r, measure))
        for r in kept
        if r is not None and value_of(r, measure) is not None and (place := _cost(r, cost)) is not None
    ]
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, "o", mfc="none", mec=BEST, ms=9, mew=1.2, zorder=5, label="stored front")


def _draw_full(axes: Axes, run: Run, cost: Cost, measure: Measure) -> list[float]:
    """Draws the reference and the chosen network after their full training; returns their heights.

    A proxy is not on the scale of their scores. With a proxy only the cost of the reference is shown.
    """
    chosen = best_so_far(run.finals)[-1] if run.finals else None
    heights = []
    for result, colour, label in (
        (run.reference, REFERENCE, "reference, in full"),
        (chosen, BEST, "searched, in full"),
    ):
        x = None if result is None else _cost(result, cost)
        if result is None or x is None:
            continue
        if value_of(result, measure) is not None:
            heights.append(height(result, measure))
            axes.plot([x], heights[-1:], "D", mfc="none", mec=colour, ms=8, mew=2, zorder=6, label=label)
        elif result is run.reference:
            axes.axvline(x, color=colour, lw=1.2, ls="--", label="cost of the reference")
    return heights


def _cost(result: TrialResult, cost: Cost) -> float | None:
    """The cost in the unit of its axis."""
    found: float | None = getattr(result, "latency_ms" if cost == "latency" else cost)
    return found / 1024 if found is not None and cost in BYTES else found


def _places(run: Run, over: Literal["trials", "time"]) -> tuple[list[float], str]:
    """The places of the trials on the horizontal axis, and its label."""
    if over == "trials":
        return [float(number) for number in range(1, len(run.trials) + 1)], "trials ended"
    simulated = (run.summary or {}).get("simulated_seconds") is not None
    seconds, total = [], 0.0
    for trial in run.trials:
        total += trial.result.seconds
        seconds.append(total if simulated else trial.elapsed)
    most = max(seconds)
    size, unit = next(
        ((s, u) for s, u in ((86400, "d"), (3600, "h"), (60, "min")) if most >= 2 * s), (1, "s")
    )
    what = "training time that the table says" if simulated else "time since the start"
    return [second / size for second in seconds], f"{what} ({unit})"


def _cost_axis(axes: Axes, cost: str, around: Sequence[float]) -> None:
    axes.set_xlabel(COSTS[cost])
    positive_axis(axes, around, short if cost in COUNTS else "{:g}".format)
