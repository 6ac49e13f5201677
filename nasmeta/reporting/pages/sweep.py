"""The page of a sweep: its jobs side by side, means over seeds, and links to the jobs' own pages."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nasmeta.reporting.figures.canvas import Figure
from nasmeta.reporting.figures.curves import Level, sweep_figure
from nasmeta.reporting.numbers import counted, shorten
from nasmeta.reporting.pages.page import picture, when, write_page
from nasmeta.reporting.read.differences import differing_keys
from nasmeta.reporting.read.load import Run, load_sweep
from nasmeta.reporting.read.outcome import final_score, is_accuracy, outcome, seed_groups
from nasmeta.reporting.tables.compare import Row, cells, groups_of, mean_cells, problems
from nasmeta.reporting.tables.winner import sweep_verdict
from nasmeta.run.manifest import Manifest

HEADING_WIDTH = 120
LEVELS = 60
"""The most settings that the figure has room for; the table has all."""

COLUMNS = ("status", "validation", "test", "reference", "parameters")


def write_sweep_report(path: Path, output: Path) -> None:
    """Writes the page of the sweep in `path`. Raises RunDirectoryError if its manifest is damaged."""
    write_page("sweep.html.jinja", output, _values(path, output, load_sweep(path)))


def _values(path: Path, output: Path, runs: Sequence[Run]) -> dict[str, Any]:
    keys = differing_keys([_assigned(run) for run in runs])
    rows = [Row(run.path.name, run, outcome(run), _assigned(run, keys)) for run in runs]
    numbers, groups = [row.numbers for row in rows], groups_of(rows)
    levels, what, resume = _levels(rows), _what(rows), _resume(path, runs)
    sentences = (_progress(runs), sweep_verdict(levels, numbers), resume)
    return {
        "title": shorten("Sweep over " + ", ".join(keys), HEADING_WIDTH) if keys else "Sweep",
        "began": when(min((run.began for run in runs if run.began is not None), default=None)),
        "path": str(path.resolve()),
        "verdict": " ".join(filter(None, sentences)),
        "status": "unfinished" if resume else "done",
        "headers": ["job", *keys, *(what if name == "test" else name for name in COLUMNS)],
        "jobs": [_job(row, keys, output) for row in rows],
        "what": what,
        "means": [_mean(rows[group.tested[0]], mean_cells(group), str(group.test.n)) for group in groups],
        "figure": picture(figure) if (figure := scores_figure(rows)) else "",
        "problems": problems(rows),
    }


def scores_figure(rows: Sequence[Row]) -> Figure | None:
    """The test scores of the runs, those that differ by seed alone together; None if none is tested."""
    levels = _levels(rows)
    accuracy = any(is_accuracy(row.numbers) for row in rows)
    return sweep_figure(levels[:LEVELS], _what(rows), accuracy) if levels else None


def _what(rows: Sequence[Row]) -> str:
    return "test accuracy (%)" if any(is_accuracy(row.numbers) for row in rows) else "test loss (MSE)"


def _assigned(run: Run, keys: Sequence[str] | None = None) -> dict[str, str]:
    """The overrides of a job's command by their keys."""
    parts = [override.partition("=") for override in (run.command.overrides if run.command else ())]
    return {key: value for key, _, value in parts if keys is None or key in keys}


def _progress(runs: Sequence[Run]) -> str:
    counts = Counter(run.status for run in runs)
    verb = "is" if counts["done"] == 1 else "are"
    told = f"{counts['done']} of {counted(len(runs), 'job')} {verb} done"
    others = ", ".join(f"{count} {status}" for status, count in counts.items() if status != "done")
    return f"{told} ({others})." if others else f"{told}."


def _resume(path: Path, runs: Sequence[Run]) -> str:
    if all(run.status in ("done", "pruned") for run in runs):
        return ""
    return f"If it was interrupted, or a job failed, resume it: {Manifest(path.resolve()).resume_command()}"


def _job(row: Row, keys: Sequence[str], output: Path) -> dict[str, Any]:
    report, texts = row.run.path / "report.html", cells(row)
    return {
        "name": row.name,
        "link": _link(report, output) if report.is_file() else "",
        "cells": [*(row.settings.get(key, "-") for key in keys), *(texts[name] for name in COLUMNS)],
    }


def _link(report: Path, output: Path) -> str:
    """A relative address, quoted, so that it names a file whatever the folders are called."""
    return "./" + quote(os.path.relpath(report.resolve(), output.parent.resolve()))


def _mean(first: Row, texts: Mapping[str, str], runs: str) -> list[str]:
    """A row for a setting with several seeds: its other overrides, the means, and their number of runs."""
    return [_label(first, several=True), texts["test"], texts["reference"], runs]


def _levels(rows: Sequence[Row]) -> list[Level]:
    """The rows of the figure: the tested jobs, those that differ by seed alone together."""
    groups = seed_groups([row.run for row in rows], [row.numbers for row in rows])
    levels = []
    for group in sorted(groups, key=lambda group: group.tested):
        each = [rows[index].numbers for index in group.tested]
        label = _label(rows[group.tested[0]], several=len(each) > 1)
        scores = tuple(score for one in each if (score := final_score(one)) is not None)
        levels.append(Level(label, scores, tuple(one["test_ci95"] or 0.0 for one in each)))
    return levels


def _label(row: Row, *, several: bool) -> str:
    """A job's overrides that differ; without the seed for `several` jobs that differ by it alone."""
    settings = (f"{key}={value}" for key, value in row.settings.items() if not (several and key == "seed"))
    return " ".join(settings) or ("all jobs" if several else row.name)
