"""`nasmeta compare DIR... --format md|csv|latex`: a row for each setting, with means over seeds."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Literal

from tabulate import tabulate

from nasmeta.errors import RunFailed
from nasmeta.reporting.numbers import human
from nasmeta.reporting.read.outcome import incomparable
from nasmeta.reporting.read.rows import COLUMNS, Row, Setting, settings_of
from nasmeta.reporting.read.statistics import Mean
from nasmeta.reporting.tables.scores import mean_difference_text, mean_text
from nasmeta.runtime.text import csv_cell

Format = Literal["md", "csv", "latex"]

NOTE = "95% intervals: over seeds by Student's t, for a single seed over tasks."
MEASURE = "measure"
"""The column that tells accuracies from losses, if a table has both."""
MEASURES = {True: "test accuracy", False: "test MSE"}
"""What is measured, by whether it is an accuracy."""
BOLD = " The best is bold."


def paper_table(rows: Sequence[Row], form: Format) -> str:
    """The table as text, without a line break at its end. In CSV, accuracies are fractions.

    Runs that are not tested are left out. Raises RunFailed if no run is.
    """
    settings = settings_of(rows)
    if not settings:
        raise RunFailed("no run is tested yet: there are no numbers for a table")
    names = [name for name in settings[0].rows[0].shown if name != "seed"][:COLUMNS]
    if len({tuple(setting.rows[0].shown[name] for name in names) for setting in settings}) < len(settings):
        names = ["run", *names]
    if len({setting.accuracy for setting in settings}) > 1:
        names = [*names, MEASURE]
    if form == "csv":
        return _csv(settings, names)
    latex = form == "latex"
    best = _best(settings)
    what = "test" if MEASURE in names else MEASURES[settings[0].accuracy] + " (%)" * settings[0].accuracy
    headers = [*names, what, "reference", "difference", "parameters", "FLOPs", "seeds"]
    body = [_cells(setting, names, bold=setting.test.mean == best, latex=latex) for setting in settings]
    table = tabulate(
        body,
        [_latex(text) for text in headers] if latex else headers,
        tablefmt="latex_raw" if latex else "github",
        disable_numparse=True,
        colalign=["left"] * len(names) + ["right"] * 6,
    )
    note = NOTE + BOLD * (best is not None)
    return f"{table}\n% {note}" if latex else f"{table}\n\n{note}"


def _best(settings: Sequence[Setting]) -> float | None:
    """The best mean; None if scores do not compare."""
    numbers = [row.numbers for setting in settings for row in setting.rows]
    if incomparable(numbers) or len({setting.accuracy for setting in settings}) > 1:
        return None
    return (max if settings[0].accuracy else min)(setting.test.mean for setting in settings)


def _cells(setting: Setting, names: Sequence[str], *, bold: bool, latex: bool) -> list[str]:
    texts = [
        mean_text(setting.test, setting.accuracy),
        mean_text(setting.reference, setting.accuracy),
        mean_difference_text(setting.difference, setting.accuracy),
        *(human(mean.mean if (mean := setting.mean(name)) else None) for name in ("params", "flops")),
        str(len(setting.rows)),
    ]
    unit = "" if MEASURE in names else " %"  # which the header has, if all are accuracies
    cells = [*_named(setting, names), *(text.removesuffix(unit) for text in texts)]
    cells = [_latex(cell) for cell in cells] if latex else [cell.replace("|", "\\|") for cell in cells]
    if bold:
        place = len(names)
        cells[place] = rf"\textbf{{{cells[place]}}}" if latex else f"**{cells[place]}**"
    return cells


def _named(setting: Setting, names: Sequence[str]) -> list[str]:
    """The setting's values by these names, of which "run" is the name of its first run."""
    row = setting.rows[0]
    values = {"run": row.name, MEASURE: MEASURES[setting.accuracy], **row.shown}
    return [values[name] for name in names]


def _latex(text: str) -> str:
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", r"\textbackslash "))
    return escaped.replace("~", r"\textasciitilde ").replace("^", r"\textasciicircum ").replace("±", r"$\pm$")


def _csv(settings: Sequence[Setting], names: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    measured = ("test", "reference", "difference")
    what = "test" if MEASURE in names else "test_accuracy" if settings[0].accuracy else "test_loss"
    header = [what, "reference", "difference"]
    writer.writerow(
        [*names, *(n for name in header for n in (name, f"{name}_ci95")), "params", "flops", "seeds"]
    )
    for setting in settings:
        means: list[Mean | None] = [getattr(setting, name) for name in measured]
        numbers = [n for mean in means for n in ((mean.mean, mean.ci95) if mean else (None, None))]
        costs = [mean and mean.mean for mean in (setting.mean("params"), setting.mean("flops"))]
        writer.writerow(
            [*(csv_cell(text) for text in _named(setting, names)), *numbers, *costs, len(setting.rows)]
        )
    return buffer.getvalue().rstrip("\n")
