"""The page of a sweep or a folder of runs: settings compared, and links to the pages of the runs."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nasmeta.reporting.figures.settings import means_figure, scores_figure
from nasmeta.reporting.numbers import counted, shorten, when
from nasmeta.reporting.pages.page import pictures, write_page
from nasmeta.reporting.read.load import is_sweep
from nasmeta.reporting.read.rows import Row, Setting, rows_of, settings_of
from nasmeta.reporting.tables.compare import cells, headers_of, mean_cells, problems
from nasmeta.reporting.tables.paired import paired_rows
from nasmeta.reporting.tables.winner import winner
from nasmeta.run.manifest import Manifest

HEADING_WIDTH = 120


def write_sweep_report(path: Path, output: Path, refresh: float | None = None) -> None:
    """Writes the page of the runs in `path`, a sweep or a folder.

    Raises RunDirectoryError if there is none, or if a manifest is damaged.
    """
    write_page("sweep.html.jinja", output, _values(path, output, rows_of([path])), refresh)


def _values(path: Path, output: Path, rows: Sequence[Row]) -> dict[str, Any]:
    settings, runs = settings_of(rows), [row.run for row in rows]
    headers, over = headers_of(rows), all(run.status in ("done", "pruned") for run in runs)
    resume = "" if over or not is_sweep(path) else _resume(path)
    sentences = (_progress(rows), winner(settings), resume)
    return {
        "title": _title(path, rows),
        "began": when(min((run.began for run in runs if run.began is not None), default=None)),
        "path": str(path.resolve()),
        "verdict": " ".join(filter(None, sentences)),
        "status": "done" if over else "unfinished",
        "figures": pictures(("the test scores of the runs", scores_figure(settings))),
        "curves": pictures(("the best score so far, as a mean over seeds", means_figure(settings))),
        "headers": list(headers.values()),
        "jobs": [_job(row, list(headers), output) for row in rows],
        "means": [_mean(setting) for setting in settings if len(setting.rows) > 1],
        "paired": paired_rows(settings),
        "problems": problems(rows),
    }


def _title(path: Path, rows: Sequence[Row]) -> str:
    if is_sweep(path) and rows[0].shown:
        return shorten("Sweep over " + ", ".join(rows[0].shown), HEADING_WIDTH)
    return "Sweep" if is_sweep(path) else f"Runs in {path.resolve().name}"


def _progress(rows: Sequence[Row]) -> str:
    counts = Counter(row.run.status for row in rows)
    verb = "is" if counts["done"] == 1 else "are"
    told = f"{counts['done']} of {counted(len(rows), 'run')} {verb} done"
    others = ", ".join(f"{count} {status}" for status, count in counts.items() if status != "done")
    return f"{told} ({others})." if others else f"{told}."


def _resume(path: Path) -> str:
    return f"If it was interrupted, or a job failed, resume it: {Manifest(path.resolve()).resume_command()}"


def _job(row: Row, names: Sequence[str], output: Path) -> dict[str, Any]:
    report, texts = row.run.path / "report.html", cells(row)
    return {
        "name": row.name,
        "link": _link(report, output) if report.is_file() else "",
        "cells": [texts.get(name, "") for name in names[1:]],
    }


def _link(report: Path, output: Path) -> str:
    """A relative address, quoted, so that it names a file whatever the folders are called."""
    return "./" + quote(os.path.relpath(report.resolve(), output.parent.resolve()))


def _mean(setting: Setting) -> list[str]:
    return [setting.label, *mean_cells(setting).values(), str(len(setting.rows))]
