"""`nasmeta compare DIR...`: runs side by side, as text."""

from collections.abc import Sequence

from tabulate import tabulate

from nasmeta.reporting.numbers import counted, duration, human, interval, kib, milliseconds, shorten
from nasmeta.reporting.read.outcome import incomparable, is_accuracy
from nasmeta.reporting.read.rows import COLUMNS, Row, Setting, settings_of
from nasmeta.reporting.tables.scores import (
    difference_text,
    final_text,
    mean_difference_text,
    mean_text,
    validated,
)

VALUE_WIDTH = 32
REASON_WIDTH = 300

SAME = "is the reference"
"""Shown instead of a difference if the search chose the reference itself."""

NUMBERS = (
    *("test", "tasks", "reference", "difference", "parameters", "FLOPs"),
    *("memory", "flash", "latency"),
    *("trials", "failed", "wall time"),
)
"""Columns that are aligned to the right."""


def comparison(rows: Sequence[Row]) -> str:
    """The table as text, with a mean line for each group of runs that differ by seed alone.

    Notes, warnings and the reasons of runs without a result follow below it.
    """
    means = [setting for setting in settings_of(rows) if len(setting.rows) > 1]
    lines = [cells(row) for row in rows]
    for setting in means:
        shown = _settings(setting.rows[0]) | {"seed": ""}
        lines.append({"run": f"mean of {len(setting.rows)} seeds"} | shown | mean_cells(setting))
    headers = headers_of(rows)
    body = [[line.get(name, "") for name in headers] for line in lines]
    align = ["right" if name in NUMBERS else "left" for name in headers]
    titles = list(headers.values())
    table = tabulate(body, titles, disable_numparse=True, colalign=align)
    notes = []
    if (left := len(rows[0].shown) - COLUMNS) > 0:
        differ = "differs" if left == 1 else "differ"
        notes.append(f"{counted(left, 'more setting')} {differ}: --json has all")
    if means:
        notes.append("± the 95% interval: of a mean over seeds by Student's t, of a single run over tasks")
    return "\n".join([table, *notes, *warnings(rows), *map(": ".join, problems(rows))])


def headers_of(rows: Sequence[Row]) -> dict[str, str]:
    """The titles of the columns that have something to show, by the names of `cells`."""
    lines = [cells(row) for row in rows]
    names = [name for name in lines[0] if any(line.get(name, "-") != "-" for line in lines)]
    if all(row.run.status == "done" for row in rows):
        names = [name for name in names if name not in ("status", "validation")]
    return {name: _what(rows) if name == "test" else name for name in names}


def _what(rows: Sequence[Row]) -> str:
    """The title of the test column; it names the measure if that is the same for all runs."""
    kinds = {is_accuracy(row.numbers) for row in rows if row.run.summary is not None}
    return "test" if len(kinds) != 1 else "test accuracy" if kinds == {True} else "test MSE"


def _settings(row: Row) -> dict[str, str]:
    return {name: shorten(value, VALUE_WIDTH) for name, value in list(row.shown.items())[:COLUMNS]}


def cells(row: Row) -> dict[str, str]:
    """A run's text for each column: its name, its settings, its numbers."""
    numbers = row.numbers
    accuracy, tasks = is_accuracy(numbers), numbers["test_tasks"]
    half_width = interval(numbers["difference_ci95"], tasks)
    difference = difference_text(numbers["difference"], half_width, accuracy)
    return {
        "run": row.name,
        **_settings(row),
        "status": row.run.status,
        "validation": validated(numbers),
        "test": final_text(numbers),
        "tasks": "-" if tasks is None else str(tasks),
        "batch_norm": numbers["batch_norm"] or "-",
        "reference": final_text(numbers, "reference_"),
        "difference": SAME if numbers["is_reference"] else difference,
        "parameters": human(numbers["params"]),
        "FLOPs": human(numbers["flops"]),
        "memory": kib(numbers["memory"]),
        "flash": kib(numbers["flash"]),
        "latency": milliseconds(numbers["latency_ms"]),
        "trials": str(numbers["trials"]),
        "failed": str(numbers["failed_trials"]),
        "wall time": duration(numbers["wall_seconds"]),
    }


def mean_cells(setting: Setting) -> dict[str, str]:
    """The means of a setting with their intervals; how many of its networks are the reference, if any is."""
    same, runs = sum(row.numbers["is_reference"] for row in setting.rows), len(setting.rows)
    difference = mean_difference_text(setting.difference, setting.accuracy)
    if 0 < same < runs:
        difference = f"{difference} ({same} of {runs} the reference)"
    return {
        "test": mean_text(setting.test, setting.accuracy),
        "reference": mean_text(setting.reference, setting.accuracy),
        "difference": SAME if same == runs else difference,
    }


def warnings(rows: Sequence[Row]) -> list[str]:
    """Lines that warn of runs that were not tested alike, and of those whose settings changed meanwhile."""
    told = incomparable([row.numbers for row in rows])
    unlike = [f"the runs differ in {', '.join(told)}, so their scores do not compare"] if told else []
    changed = [
        (row.name, shorten("; ".join(row.run.changes), REASON_WIDTH)) for row in rows if row.run.changes
    ]
    return [
        *unlike,
        *(f"{name} mixes two settings, since it was resumed with {what}" for name, what in changed),
    ]


def problems(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The name of each run that has no result, and why."""
    return [(row.name, shorten(row.run.reason, REASON_WIDTH)) for row in rows if row.run.reason is not None]
