"""Where a run or a sweep stands, as `nasmeta show` prints it."""

import time
from collections import Counter
from pathlib import Path

from tabulate import tabulate

from nasmeta.config.schema import needs_trust
from nasmeta.reporting.numbers import costs, duration, judged
from nasmeta.reporting.read.load import Run, is_sweep, load_run, load_sweep
from nasmeta.reporting.read.origins import growth, warm_start
from nasmeta.reporting.read.remaining import seconds_left
from nasmeta.reporting.read.rows import rows_of
from nasmeta.reporting.tables.closing import closing_table
from nasmeta.reporting.tables.compare import comparison
from nasmeta.run.directory import RunDirectory
from nasmeta.runtime.command_lines import command_line
from nasmeta.runtime.text import printable


def status(path: Path) -> str:
    """Where the run or sweep in `path` stands. It takes no lock, so the run may be in progress.

    A run that is done shows its closing table. Raises RunDirectoryError if there is no run, or if its files
    are damaged.
    """
    if is_sweep(path):
        counts = Counter(run.status for run in load_sweep(path))
        text = ", ".join(f"{count} {state}" for state, count in counts.items())
        return f"{printable(str(path))}: {text}\n\n{comparison(rows_of([path]))}"
    run = load_run(path, latest=True)
    trusted = needs_trust(run.config)
    origins = [("budget grew", growth(run)), ("history", warm_start(run))]
    if run.summary is not None:
        table = closing_table(run.summary, path, trusted=trusted)
        return f"{table}\n\n{_rows(origins)}".rstrip()
    if run.status == "failed":
        return f"{printable(str(path))}: failed: {run.reason}"
    rows = [("trials", _trials(run)), ("best", _best(run)), ("in full", _full(run)), ("time", _time(run))]
    rows += origins
    again = command_line("resume", path, trusted=trusted)
    standing = f"not finished; it last wrote {_silence(path)} ago"
    onward = "If it was interrupted, resume it"
    if run.status == "pruned":
        standing, onward = "pruned: the study of its sweep ended it early", "To go on all the same"
    return f"{printable(str(path))}: {standing}\n{_rows(rows)}\n{onward}: {again}"


def _rows(rows: list[tuple[str, str]]) -> str:
    return tabulate([row for row in rows if row[1]], tablefmt="plain")


def _trials(run: Run) -> str:
    failed = f", {len(run.failed)} failed" if run.failed else ""
    going = f", {run.in_flight} in progress" if run.in_flight else ""
    return f"{len(run.trials)} of {run.settings['budget.trials']} have ended{failed}{going}"


def _best(run: Run) -> str:
    best = run.best
    if best is None:
        return ""
    return f"trial {best.trial}: {judged(best)}, {costs(best)}, {printable(best.arch)}"


def _full(run: Run) -> str:
    """The full trainings that have ended."""
    named = [("reference", run.reference)] if run.reference else []
    named += [(f"final trial {result.trial}", result) for result in run.finals]
    return "; ".join(
        f"{name}: {judged(r) if r.status == 'ok' else f'failed: {r.reason}'}" for name, r in named
    )


def _time(run: Run) -> str:
    ended = run.state.finished
    searched = run.state.has_searched or "strategy.architecture" in run.settings  # the network was given
    trials = 0 if searched else max(int(run.settings["budget.trials"]) - len(run.trials), 0)
    left = seconds_left(run.settings, list(ended.values()), trials=trials, ended=ended)
    rest = "" if left is None else f", about {duration(left)} left with full trainings and test"
    return f"{duration(run.elapsed)} so far{rest}"


def _silence(path: Path) -> str:
    """How long ago the run wrote its journal."""
    directory = RunDirectory(path)
    file = directory.journal if directory.journal.is_file() else directory.config
    return duration(max(time.time() - file.stat().st_mtime, 0))
