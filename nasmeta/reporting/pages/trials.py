"""The trials of a run on its page: as tables, and all of them as CSV."""

import csv
import io
from collections.abc import Sequence

from nasmeta.reporting.figures.panel import LABELS
from nasmeta.reporting.numbers import duration, human, kib, milliseconds, scored, shorten
from nasmeta.reporting.read.load import Run
from nasmeta.reporting.read.ranking import measure_of
from nasmeta.run.ranking import ranked
from nasmeta.runtime.text import csv_cell
from nasmeta.trial import TrialResult

TOP = 10

ARCH_WIDTH = 2000
"""The most characters of an architecture or a setting that a page shows."""

Table = tuple[list[str], list[list[str]]]
"""Headers and rows."""


def best_trials(run: Run) -> Table:
    """The best trials, best first."""
    return _table(run, ranked(run.results)[:TOP])


def stored_front(run: Run) -> Table:
    """The front that a search with several objectives has stored, best first."""
    members = {member["trial"]: member["checkpoint"] for member in (run.summary or {}).get("pareto") or []}
    results = {result.trial: result for result in run.results}
    known = [trial for trial in members if trial in results]
    return _table(run, [results[trial] for trial in known], [members[trial] or "-" for trial in known])


def _table(run: Run, results: Sequence[TrialResult], checkpoints: Sequence[str] = ()) -> Table:
    """The columns that have something to show. checkpoints: the file of each result, or a dash."""
    measure = measure_of(run.results)
    headers = ["trial", LABELS[measure] if measure else "", "parameters", "FLOPs", "memory", "flash"]
    headers += ["latency", "iterations", "time", "checkpoint", "architecture"]
    rows = [
        [
            str(result.trial),
            scored(result),
            human(result.params),
            human(result.flops),
            kib(result.memory),
            kib(result.flash),
            milliseconds(result.latency_ms),
            str(result.iterations),
            duration(result.seconds),
            checkpoints[number] if checkpoints else "-",
            shorten(result.arch, ARCH_WIDTH),
        ]
        for number, result in enumerate(results)
    ]
    used = [n for n in range(len(headers)) if any(row[n] != "-" for row in rows)]
    return [headers[n] for n in used], [[row[n] for n in used] for row in rows]


def trials_csv(run: Run) -> str:
    """Every training of the run as a row, so that any figure can be drawn again.

    Text is made harmless for spreadsheets, see `csv_cell`.
    """
    buffer = io.StringIO()
    rows = run.table()
    writer = csv.DictWriter(buffer, rows[0] if rows else [])
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()
