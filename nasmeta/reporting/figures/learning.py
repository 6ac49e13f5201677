"""Figures of how networks learned and what a search came to prefer."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import isfinite, log
from statistics import fmean
from typing import Any

import numpy as np

from nasmeta.reporting.figures.canvas import Figure, MaxNLocator
from nasmeta.reporting.figures.panel import (
    BEST,
    COLOURS,
    REFERENCE,
    SIZE,
    TRIAL,
    legend,
    panel,
    positive_axis,
    short,
)
from nasmeta.reporting.learning import Curve, Key
from nasmeta.run.per_task import PerTask
from nasmeta.search_spaces.graph import ArchitectureGraph

CURVES = 200
"""The most candidates whose curves are drawn."""

SMOOTH = 20
"""A drawn point is the mean of this fraction of a curve's readings, which are noisy."""

PERIODS = 12
"""Into how many periods a search is divided, at most, to show what it came to prefer."""

OPERATIONS = 16
"""The most operations that are shown; those whose share changes most."""

BINS = 24


def learning_figure(curves: Mapping[Key, Curve], regression: bool) -> Figure | None:
    """The accuracy on meta-training tasks, or the loss for regression, by meta-iteration.

    Candidates are thin, the finalists and the reference are thick. Dashed: the accuracy on the validation
    tasks that judge iterates (budget.keep=best). None if there are no readings.
    """
    if not curves:
        return None
    figure, axes = panel("loss (MSE)" if regression else "accuracy (%)")

    def draw(phase: str, of: str, label: str, colour: str, width: float, style: str) -> None:
        drawn = [curve for key, curve in sorted(curves.items()) if (key[0], key[2]) == (phase, of)]
        for number, curve in enumerate(drawn[:: max(1, -(-len(drawn) // CURVES))]):
            x, y = _smoothed(curve, regression)
            name = label if number == 0 else None
            (line,) = axes.plot(
                x, y, style, color=colour, lw=width, alpha=0.8 if width < 1 else 0.95, label=name
            )
            line.set_marker("." if len(x) == 1 else "")

    draw("search", "train", "candidates", TRIAL, 0.9, "-")
    for phase, label, colour in (("final", "finalists", BEST), ("reference", "reference", REFERENCE)):
        draw(phase, "train", label, colour, 1.8, "-")
        draw(phase, "judged", f"{label} on validation tasks", colour, 1.2, "--")
    positive_axis(axes, [iteration for curve in curves.values() for iteration in curve], short)
    axes.set_xlabel("meta-iterations")
    legend(figure, axes)
    return figure


def _smoothed(curve: Curve, regression: bool) -> tuple[list[float], list[float]]:
    readings = sorted(curve.items())
    width = max(1, len(readings) // SMOOTH)
    x, y = [], []
    for first in range(0, len(readings), width):
        part = readings[first : first + width]
        values = [loss if regression else 100 * (accuracy or 0.0) for _, (loss, accuracy) in part]
        x.append(fmean(iteration for iteration, _ in part))
        y.append(fmean(values) if all(map(isfinite, values)) else float("nan"))
    return x, y


def tasks_figure(tasks: PerTask, name: str, regression: bool) -> Figure:
    """How the test tasks' accuracies, or losses, are distributed. `name` is that of the chosen network."""
    figure, axes = panel("test tasks")
    unit = 1.0 if regression else 100.0
    shown = [(name, tasks.best, BEST)]
    if tasks.reference is not None and name != "reference":
        shown.append(("reference", tasks.reference, REFERENCE))
    everything = unit * np.concatenate([values for _, values, _ in shown])
    low, high = (float(edge) for edge in np.quantile(everything, (0, 0.99 if regression else 1)))
    margin = 0.5 * (low == high)
    edges = np.linspace(low - margin, high + margin, BINS + 1).tolist()
    for label, values, colour in shown:
        inside = np.clip(unit * values, edges[0], edges[-1])
        axes.hist(inside, edges, histtype="stepfilled", color=colour, alpha=0.25)
        axes.hist(inside, edges, histtype="step", color=colour, lw=1.4, label=label)
        axes.axvline(unit * values.mean(), color=colour, lw=1.4, ls="--")
    axes.set_xlabel("loss of a task (MSE)" if regression else "accuracy of a task (%)")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, axes)
    return figure


def operations_figure(graphs: Sequence[ArchitectureGraph]) -> Figure | None:
    """How many of each operation the networks of a search had, by period of the search.

    Each row is shaded by its own largest number. None if no operation changes.
    """
    if len(graphs) < 2:
        return None
    counts = [Counter(graph.operations[1:-1]) for graph in graphs]
    periods = np.array_split(np.arange(len(counts)), min(PERIODS, len(counts)))
    names = sorted({name for each in counts for name in each})
    means = {name: [fmean(counts[i][name] for i in period) for period in periods] for name in names}
    change = {name: abs(row[-1] - row[0]) / max(row) for name, row in means.items() if max(row) > min(row)}
    chosen = sorted(change, key=lambda name: -change[name])[:OPERATIONS]
    if not chosen:
        return None
    rows = sorted(chosen, key=lambda name: means[name][-1] - means[name][0])
    figure, axes = panel("")
    figure.set_size_inches(SIZE[0], max(SIZE[1] * 0.5, 0.9 + 0.24 * len(rows)))
    shares = [[value / max(means[name]) for value in means[name]] for name in rows]
    axes.pcolormesh(np.array(shares), cmap="Blues", vmin=0, vmax=1.25, edgecolors="white", lw=0.5)
    for y, name in enumerate(rows):
        for x in {0, len(periods) - 1}:
            dark = shares[y][x] > 0.7
            axes.text(
                x + 0.5, y + 0.5, f"{means[name][x]:.1f}", ha="center", va="center", fontsize=7,
                color="white" if dark else "black",
            )  # fmt: skip
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=8)
    last = [period[-1] + 1 for period in periods]
    axes.set_xticks([0, len(periods)], ["first trial", f"trial {last[-1]}"], fontsize=8)
    axes.grid(visible=False)
    return figure


def values_figures(values: Mapping[str, Sequence[Any]]) -> list[tuple[str, Figure]]:
    """A figure for each named quantity: its value in every trial, and the mean of the last tenth of them.

    values: by name, one for each trial in their order: numbers, or words (whose shares are drawn).
    """
    figures = []
    for name, row in values.items():
        if len(set(map(str, row))) < 2:
            continue
        figure, axes = panel("share of recent trials (%)" if isinstance(row[0], str | bool) else name)
        window = max(3, len(row) // 10)
        x = range(1, len(row) + 1)
        if isinstance(row[0], str | bool):
            for word, colour in zip(sorted(set(map(str, row))), COLOURS, strict=False):
                hits = [100.0 * (str(value) == word) for value in row]
                axes.plot(x, _recent(hits, window, fmean), color=colour, lw=1.8, label=f"{name}={word}")
            legend(figure, axes, columns=2)
        else:
            positive = min(row) > 0 and max(row) > 10 * min(row)
            middle = _geometric if positive else fmean
            axes.plot(x, row, "o", color=TRIAL, ms=3.5, alpha=0.7)
            axes.plot(x, _recent(row, window, middle), color=BEST, lw=1.8)
            axes.set_yscale("log" if positive else "linear")
        axes.set_xlabel("trial, in the order in which they ended")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figures.append((name, figure))
    return figures


def _recent(row: Sequence[float], window: int, middle: Callable[[Sequence[float]], float]) -> list[float]:
    return [middle(row[max(0, end - window) : end]) for end in range(1, len(row) + 1)]


def _geometric(values: Sequence[float]) -> float:
    return float(np.exp(fmean(log(value) for value in values)))
