"""What the figures of a report share: colours, an empty panel with a label, heights and scales of scores.

Text that comes from a run is never rendered as a mathematical formula.
"""

from collections.abc import Callable, Sequence

from nasmeta.reporting.figures.canvas import (
    Axes,
    Figure,
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    new_figure,
)
from nasmeta.reporting.numbers import human
from nasmeta.reporting.read.ranking import Measure, value_of
from nasmeta.trial import TrialResult

TRIAL, BEST, FRONT, REFERENCE = "#8aa4bf", "#1f4e79", "#c0392b", "#2e8b57"
COLOURS = (BEST, FRONT, REFERENCE, "#d99a1c", "#7d4ea8", "#4fa3a5", "#8a5a44", "#5b6772")
"""Of curves that stand for names."""

SIZE = (5.2, 3.5)
LABELS: dict[Measure, str] = {
    "accuracy": "validation accuracy (%)",
    "loss": "validation loss (MSE)",
    "proxy": "proxy (more is better)",
}
LARGEST = 1e100
"""The largest height that axes with margins can show."""


def panel(label: str) -> tuple[Figure, Axes]:
    """A figure of the usual size with one panel, whose vertical axis has this label."""
    figure = new_figure(*SIZE)
    return figure, new_axes(figure, label)


def new_axes(figure: Figure, label: str, place: tuple[int, int, int] = (1, 1, 1)) -> Axes:
    """A further panel of a figure; `place` is (rows, columns, number)."""
    axes = figure.add_subplot(*place)
    axes.set_ylabel(label, parse_math=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def legend(figure: Figure, axes: Axes, *, columns: int = 3) -> None:
    """Puts the legend above the panel, where it hides no point."""
    handles, labels = axes.get_legend_handles_labels()
    shown = figure.legend(handles, labels, loc="outside upper left", ncols=columns, fontsize=8, frameon=False)
    for text in shown.get_texts():
        text.set_parse_math(False)


def height(result: TrialResult, measure: Measure) -> float:
    """Where a result is drawn: its score, an accuracy in percent; NaN if it has none."""
    value = value_of(result, measure)
    return float("nan") if value is None else drawable(unit(measure) * value)


def drawable(height: float) -> float:
    """`height`, limited to what axes with margins can show, since a diverged loss may be any number."""
    return min(max(height, -LARGEST), LARGEST)


def unit(measure: Measure) -> float:
    """What a score is multiplied by to be drawn."""
    return 100.0 if measure == "accuracy" else 1.0


def scale(axes: Axes, heights: Sequence[float], measure: Measure) -> None:
    """Makes the axis logarithmic if losses or proxies span more than a factor of 10.

    So a loss that diverged does not hide the others.
    """
    if measure != "accuracy" and min(heights) > 0 and max(heights) > 10 * min(heights):
        axes.set_yscale("log")


def positive_axis(axes: Axes, around: Sequence[float], text: Callable[[float], str]) -> None:
    """Writes the ticks of the horizontal axis as `text`, and makes it logarithmic if values are far apart.

    It stays linear if the positive values `around` span less than a factor of 3. Ticks between powers of ten
    are labelled too if they span less than a factor of 50.
    """
    span = max(around) / min(around)
    if span < 3:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    else:
        axes.set_xscale("log")
        minor = FuncFormatter(lambda value, _: text(value) if str(f"{value:e}")[0] in "25" else "")
        axes.xaxis.set_minor_formatter(minor if span < 50 else NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axes.tick_params(axis="x", which="both", labelsize=8)


def short(value: float) -> str:
    """A tick like 10 K or 1 M."""
    return human(value).replace(".0 ", " ")
