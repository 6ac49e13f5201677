"""The page of a sweep: its jobs side by side, means over seeds, and links to the jobs' own pages."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nasmeta.reporting.figures.curves import Level, sweep_figure
from nasmeta.reporting.numbers import counted, human, shorten
from nasmeta.reporting.pages.heading import when
from nasmeta.reporting.pages.page import picture, write_page
from nasmeta.reporting.read.load import Run, load_sweep
from nasmeta.reporting.read.outcome import (
    final_score,
    final_text,
    is_accuracy,
    mean_text,
    outcome,
    over_seeds,
    validated,
)
from nasmeta.reporting.tables.winner import sweep_verdict
from nasmeta.run.manifest import Manifest
from nasmeta.run.replay import resume_command

REASON_WIDTH = 300
HEADING_WIDTH = 120
LEVELS = 60
"""The most settings that the figure has room for; the table has all."""


def write_sweep_report(path: Path, output: Path) -> None:
    """Writes the page of the sweep in `path`. Raises RunDirectoryError if its manifest is damaged."""
    runs = load_sweep(path)
    write_page("sweep.html.jinja", output, _values(path, output, runs))


def _values(path: Path, output: Path, runs: Sequence[Run]) -> dict[str, Any]:
    numbers = [outcome(run) for run in runs]
    keys = differing_overrides(runs)
    done = sum(run.status == "done" for run in runs)
    levels = _levels(runs, numbers, keys)
    accuracy = any(is_accuracy(each) for each in numbers)
    what = "test accuracy (%)" if accuracy else "test loss (MSE)"
    return {
        "title": shorten("Sweep over " + ", ".join(keys), HEADING_WIDTH) if keys else "Sweep",
        "began": when(min((run.began for run in runs if run.began is not None), default=None)),
        "path": str(path.resolve()),
        "verdict": " ".join(
            filter(None, (_progress(runs), sweep_verdict(levels, numbers), _resume(path, runs)))
        ),
        "status": "done" if done == len(runs) else "unfinished",
        "keys": keys,
        "what": what,
        "jobs": [_job(run, each, keys, output) for run, each in zip(runs, numbers, strict=True)],
        "means": _means(runs, numbers, keys),
        "figure": picture(sweep_figure(levels[:LEVELS], what, accuracy)) if levels else "",
        "problems": [
            (run.path.name, shorten(run.reason, REASON_WIDTH)) for run in runs if run.reason is not None
        ],
    }


def differing_overrides(runs: Sequence[Run]) -> list[str]:
    """The keys of the overrides in which the jobs differ, in the order of the command."""
    assigned = [_assigned(run) for run in runs]
    keys = dict.fromkeys(key for values in assigned for key in values)
    return [key for key in keys if len({values.get(key) for values in assigned}) > 1]


def _assigned(run: Run) -> dict[str, str]:
    parts = [override.partition("=") for override in (run.command.overrides if run.command else ())]
    return {key: value for key, _, value in parts}


def _progress(runs: Sequence[Run]) -> str:
    counts = Counter(run.status for run in runs)
    verb = "is" if counts["done"] == 1 else "are"
    told = f"{counts['done']} of {counted(len(runs), 'job')} {verb} done"
    others = ", ".join(f"{count} {status}" for status, count in counts.items() if status != "done")
    return f"{told} ({others})." if others else f"{told}."


def _resume(path: Path, runs: Sequence[Run]) -> str:
    if all(run.status == "done" for run in runs):
        return ""
    return f"If it was interrupted, or a job failed, resume it: {resume_command(Manifest(path.resolve()))}"


def _job(run: Run, numbers: dict[str, Any], keys: Sequence[str], output: Path) -> dict[str, Any]:
    assigned = _assigned(run)
    cells = [assigned.get(key, "-") for key in keys]
    report = run.path / "report.html"
    return {
        "name": run.path.name,
        "link": _link(report, output) if report.is_file() else "",
        "cells": [
            *cells,
            run.status,
            validated(numbers),
            final_text(numbers),
            final_text(numbers, "reference_"),
        ],
        "params": human(numbers["params"]),
    }


def _link(report: Path, output: Path) -> str:
    """A relative address, quoted, so that it names a file whatever the folders are called."""
    return "./" + quote(os.path.relpath(report.resolve(), output.parent.resolve()))


def _means(runs: Sequence[Run], numbers: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[list[str]]:
    """A row for each setting with several seeds: its other overrides, the means, and their number of runs."""
    return [
        [
            _label(runs[group.members[0]], keys),
            mean_text(group.test, group.accuracy),
            mean_text(group.reference, group.accuracy),
            str(group.test.n),
        ]
        for group in over_seeds(runs, numbers)
    ]


def _levels(runs: Sequence[Run], numbers: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[Level]:
    """The rows of the figure: groups over seeds, and the jobs in no group. Untested ones are left out."""
    groups = over_seeds(runs, numbers)
    grouped = {index for group in groups for index in group.members}
    alone = [(index,) for index in range(len(runs)) if index not in grouped]
    levels = []
    for members in sorted([*(group.done for group in groups), *alone]):
        first = runs[members[0]]
        known = [
            (score, numbers[i]["test_ci95"] or 0.0)
            for i in members
            if (score := final_score(numbers[i])) is not None
        ]
        if known:
            whole = _label(first, keys) if len(members) > 1 else _setting(first, keys) or first.path.name
            scores, intervals = zip(*known, strict=True)
            levels.append(Level(whole, scores, intervals))
    return levels


def _label(run: Run, keys: Sequence[str]) -> str:
    return _setting(run, [key for key in keys if key != "seed"]) or "all jobs"


def _setting(run: Run, keys: Sequence[str]) -> str:
    assigned = _assigned(run)
    return " ".join(f"{key}={assigned[key]}" for key in keys if key in assigned)
