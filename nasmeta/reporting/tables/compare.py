"""`nasmeta compare DIR...`: runs side by side, as a table or as JSON."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from nasmeta.errors import ConfigError, suggest
from nasmeta.reporting.numbers import counted, duration, human, interval, shorten
from nasmeta.reporting.read.differences import OPTION, differing_keys, shown
from nasmeta.reporting.read.load import Run, load_all
from nasmeta.reporting.read.outcome import (
    SeedGroup,
    difference_text,
    final_text,
    incomparable,
    is_accuracy,
    mean_text,
    outcome,
    seed_groups,
    validated,
)

COLUMNS = 6
"""How many of the settings in which runs differ a table shows."""

VALUE_WIDTH = 32
REASON_WIDTH = 300
BEST_FIRST = ("accuracy", "difference")
"""Endings of the keys whose largest value is sorted first. All other keys start with the smallest."""

OWN_COLUMN = "batch_norm"
SAME = "is the reference"
"""Shown instead of a difference if the search chose the reference itself."""


NUMBERS = ("test", "tasks", "reference", "difference", "parameters", "FLOPs", "trials", "failed", "wall time")


@dataclass(frozen=True)
class Row:
    """A run in a comparison.

    name: its path, shortened. numbers: its outcome, see `outcome`. settings: its values of the settings in
    which the compared runs differ.
    """

    name: str
    run: Run
    numbers: dict[str, Any]
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for one line of JSON."""
        where = {"name": self.name, "directory": str(self.run.path)}
        return {**where, **self.numbers, "settings": self.settings}


def rows_of(paths: Sequence[Path], sort: str | None) -> list[Row]:
    """The runs in all `paths`, in the order in which they are found or sorted by `sort`.

    `sort` is a key of `Row.to_dict` or of the configuration. Raises RunDirectoryError for a path without a
    run, and ConfigError for a key that no run has.
    """
    runs = load_all(paths)
    keys = differing_keys([run.settings for run in runs if run.settings])
    names = short_names([run.path for run in runs])
    rows = [
        Row(name, run, outcome(run), {k: run.settings.get(k) for k in keys if k != OWN_COLUMN})
        for name, run in zip(names, runs, strict=True)
    ]
    return rows if sort is None else _sorted(rows, sort)


def short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without the folders that they have in common. A single path becomes its last part."""
    whole = [path.resolve() for path in paths]
    shared = os.path.commonpath([path.parent for path in whole])
    return [str(path.relative_to(shared)) for path in whole]


def _sorted(rows: list[Row], key: str) -> list[Row]:
    values = [{**row.to_dict(), **row.run.settings}.get(key) for row in rows]
    if all(value is None for value in values):
        known = [name for name in rows[0].to_dict() if name != "settings"]
        raise ConfigError(f"--sort {key}: no run has it; {suggest(key, [*known, *rows[0].run.settings])}")
    falling = key.endswith(BEST_FIRST)

    def place(pair: tuple[Row, Any]) -> tuple[bool, bool, float, str]:
        value = pair[1]
        number = float(value) if isinstance(value, int | float) else 0.0
        is_text = isinstance(value, str)
        return value is None, is_text, -number if falling else number, str(value) if is_text else ""

    return [row for row, _ in sorted(zip(rows, values, strict=True), key=place)]


def comparison(rows: Sequence[Row]) -> str:
    """The table as text, with a mean line for each group of runs that differ by seed alone.

    Notes, warnings and the reasons of runs without a result follow below it.
    """
    groups, keys = groups_of(rows), columns(list(rows[0].settings))
    lines = [{"run": row.name} | _settings(row, keys) | cells(row) for row in rows]
    for group in groups:
        settings = _settings(rows[group.tested[0]], [key for key in keys if key != "seed"])
        lines.append({"run": f"mean of {group.test.n} seeds"} | settings | mean_cells(group))
    headers = [name for name in lines[0] if any(line.get(name, "-") != "-" for line in lines)]
    if all(row.run.status == "done" for row in rows):
        headers = [name for name in headers if name not in ("status", "validation")]
    body = [[line.get(name, "") for name in headers] for line in lines]
    align = ["right" if name in NUMBERS else "left" for name in headers]
    titles = [_what(rows) if name == "test" else name for name in headers]
    table = tabulate(body, titles, disable_numparse=True, colalign=align)
    notes = []
    if left := len(rows[0].settings) - len(keys):
        differ = "differs" if left == 1 else "differ"
        notes.append(f"{counted(left, 'more setting')} {differ}: --json has all")
    if groups:
        notes.append("mean: ± the standard error over seeds; other lines: ± the 95% interval over tasks")
    return "\n".join([table, *notes, *warnings(rows), *map(": ".join, problems(rows))])


def _what(rows: Sequence[Row]) -> str:
    """The title of the test column; it names the measure if that is the same for all runs."""
    kinds = {is_accuracy(row.numbers) for row in rows if row.run.summary is not None}
    return "test" if len(kinds) != 1 else "test accuracy" if kinds == {True} else "test MSE"


def columns(keys: Sequence[str]) -> list[str]:
    """The keys that the table has room for: chosen options first, then the others in their order."""
    options = [key for key in keys if key.endswith(OPTION)]
    others = [key for key in keys if key not in options]
    return [*options, *others][:COLUMNS]


def groups_of(rows: Sequence[Row]) -> list[SeedGroup]:
    """The groups over at least two seeds."""
    groups = seed_groups([row.run for row in rows], [row.numbers for row in rows])
    return [group for group in groups if group.test.n > 1]


def _settings(row: Row, keys: Sequence[str]) -> dict[str, str]:
    settings = (shown(key, row.run.settings) for key in keys)
    return {name: shorten(value, VALUE_WIDTH) for name, value in settings}


def cells(row: Row) -> dict[str, str]:
    """A run's text for each column after those of its settings."""
    numbers = row.numbers
    accuracy, tasks = is_accuracy(numbers), numbers["test_tasks"]
    half_width = interval(numbers["difference_ci95"], tasks)
    difference = difference_text(numbers["difference"], half_width, accuracy)
    return {
        "status": row.run.status,
        "validation": validated(numbers),
        "test": final_text(numbers),
        "tasks": "-" if tasks is None else str(tasks),
        "batch_norm": numbers["batch_norm"] or "-",
        "reference": final_text(numbers, "reference_"),
        "difference": SAME if numbers["is_reference"] else difference,
        "parameters": human(numbers["params"]),
        "FLOPs": human(numbers["flops"]),
        "trials": str(numbers["trials"]),
        "failed": str(numbers["failed_trials"]),
        "wall time": duration(numbers["wall_seconds"]),
    }


def mean_cells(group: SeedGroup) -> dict[str, str]:
    """The mean line of a group: mean ± standard error over its tested runs, one for each seed."""
    mean = group.difference
    return {
        "test": mean_text(group.test, group.accuracy),
        "reference": mean_text(group.reference, group.accuracy),
        "difference": "-"
        if mean is None
        else difference_text(mean.mean, mean.standard_error, group.accuracy),
    }


def warnings(rows: Sequence[Row]) -> list[str]:
    """A line that warns if the runs were not tested alike, so that their scores do not compare."""
    told = incomparable([row.numbers for row in rows])
    return [f"the runs differ in {', '.join(told)}, so their scores do not compare"] if told else []


def problems(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The name of each run that has no result, and why."""
    return [(row.name, shorten(row.run.reason, REASON_WIDTH)) for row in rows if row.run.reason is not None]
