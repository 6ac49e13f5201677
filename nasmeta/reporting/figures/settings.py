"""The figures of several runs: the test scores of their settings, and their searches averaged over seeds."""

from collections.abc import Sequence

from nasmeta.reporting.figures.canvas import Figure, MaxNLocator, new_figure
from nasmeta.reporting.figures.panel import BEST, COLOURS, LABELS, TRIAL, height, legend, panel, scale
from nasmeta.reporting.numbers import shorten
from nasmeta.reporting.read.ranking import Measure, best_so_far, measure_of
from nasmeta.reporting.read.rows import Row, Setting
from nasmeta.reporting.read.statistics import mean_of

LABEL_WIDTH = 44
MOST = 60
"""The most settings that the figure of scores has room for; the table has all."""


def scores_figure(settings: Sequence[Setting]) -> Figure | None:
    """A row for each setting: its runs are points with their intervals, the mean over seeds is a bar.

    None if there is no setting, or if some have accuracies and others losses.
    """
    if len({setting.accuracy for setting in settings}) != 1:
        return None
    settings = settings[:MOST]
    figure = new_figure(7.6, 1.1 + 0.42 * len(settings))
    axes = figure.add_subplot()
    accuracy = settings[0].accuracy
    unit = 100 if accuracy else 1
    for place, setting in enumerate(settings):
        scores, intervals = ([unit * value for value in values] for values in (setting.scores, setting.ci95))
        heights = [place + shift for shift in _spread(len(scores))]
        bars = intervals if any(intervals) else None
        axes.errorbar(scores, heights, xerr=bars, fmt="o", color=TRIAL, ms=4.5, lw=1)
        if len(scores) > 1:
            axes.plot([unit * setting.test.mean] * 2, [place - 0.3, place + 0.3], color=BEST, lw=2.2)
    axes.set_yticks(range(len(settings)), [shorten(s.label, LABEL_WIDTH) for s in settings], fontsize=8)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(settings) - 0.5, -0.5)
    what = "test accuracy (%)" if accuracy else "test loss (MSE)"
    axes.set_xlabel(f"{what}; the bar is the mean over seeds", fontsize=9)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _spread(count: int) -> list[float]:
    """`count` heights around 0, so that the intervals in a row of the figure do not cover each other."""
    return [0.4 * (number / (count - 1) - 0.5) for number in range(count)] if count > 1 else [0.0]


def means_figure(settings: Sequence[Setting]) -> Figure | None:
    """The best score so far by trial, as a mean over seeds with its 95% interval: a curve for each setting.

    A curve ends with the shortest search of its setting. None if there is no search, if there are more
    settings than colours, or if searches are judged by different measures.
    """
    results = [row.run.results for setting in settings for row in setting.rows]
    measures = {measure_of(each) for each in results}
    if len(measures) != 1 or len(settings) > len(COLOURS) or None in measures:
        return None
    (measure,) = measures
    assert measure is not None
    figure, axes = panel(LABELS[measure].replace("validation", "best validation"))
    drawn = []
    for number, setting in enumerate(settings):
        colour, dashes = COLOURS[number], ("-", "--", "-.", ":")[number % 4]
        curves = [_best_scores(row, measure) for row in setting.rows]
        means = [mean_of(points) for points in zip(*curves, strict=False)]
        known = [(x, mean, mean.ci95 or 0.0) for x, mean in enumerate(means, 1) if mean is not None]
        x, y = [x for x, *_ in known], [mean.mean for _, mean, _ in known]
        axes.step(
            x, y, where="post", color=colour, ls=dashes, lw=1.8, label=shorten(setting.label, LABEL_WIDTH)
        )
        low, high = ([mean.mean + sign * ci for _, mean, ci in known] for sign in (-1, 1))
        axes.fill_between(x, low, high, step="post", color=colour, alpha=0.15, lw=0)
        drawn += y
    axes.set_xlabel("trials ended")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    scale(axes, drawn, measure)
    legend(figure, axes, columns=1)
    return figure


def _best_scores(row: Row, measure: Measure) -> list[float | None]:
    best = best_so_far(row.run.results)
    return [None if result is None else height(result, measure) for result in best]
