"""`nasmeta report DIR`: a run as one HTML page that needs no other file."""

import csv
import io
import time
from pathlib import Path
from typing import Any

from nasmeta.config.schema import needs_trust
from nasmeta.reporting.figures.canvas import Figure
from nasmeta.reporting.figures.curves import LABELS, cost_figure, search_figure
from nasmeta.reporting.numbers import duration, human, judged, measured, scored, shorten
from nasmeta.reporting.pages.drawing import drawn
from nasmeta.reporting.pages.page import data_uri, picture, when, write_page
from nasmeta.reporting.pages.sweep import write_sweep_report
from nasmeta.reporting.read.differences import OPTION, shown, written
from nasmeta.reporting.read.load import Run, is_sweep, load_run
from nasmeta.reporting.read.ranking import failures, measure_of
from nasmeta.reporting.tables.closing import difference_line, result_rows
from nasmeta.reporting.tables.verdict import name_of_best, verdict
from nasmeta.run.ranking import ranked
from nasmeta.runtime.command_lines import command_line
from nasmeta.runtime.text import csv_cell
from nasmeta.trial import TrialResult

TOP = 10
REASON_WIDTH = 400
ARCH_WIDTH = 2000
"""The most characters of an architecture or a setting that a page shows."""
TITLE_WIDTH = 120
NUMBERS_LISTED = 12
NAMES = ("nasmeta", "python", "torch", "numpy")


def write_report(path: Path, output: Path | None, *, trusted: bool) -> Path:
    """Writes the page of the run or sweep in `path` to `output`, and returns the path of the page.

    The default is `path`/report.html. `trusted` is as in `drawing.drawn`. Raises RunDirectoryError if there
    is no run or sweep, or if it is damaged.
    """
    output = path / "report.html" if output is None else output
    if is_sweep(path):
        write_sweep_report(path, output)
    else:
        write_page("report.html.jinja", output, _values(load_run(path), trusted=trusted))
    return output


def _values(run: Run, *, trusted: bool) -> dict[str, Any]:
    """The values for the template: text, numbers as text, pictures as data: URIs."""
    summary = run.summary
    measure = measure_of(run.results)
    return {
        "title": heading(run),
        "began": when(run.began),
        "path": str(run.path.resolve()),
        "verdict": verdict(summary) if summary else standing(run),
        "status": run.status,
        "result": result_rows(summary) if summary else None,
        "difference": difference_line(summary) if summary else "",
        "notes": _notes(run),
        "search": _pictures(
            ("score of each trial, in the order in which they ended", search_figure(run, "trials")),
            ("score of each trial over time", search_figure(run, "time")),
        ),
        "cost": _pictures(
            ("score against parameters", cost_figure(run, "params")),
            ("score against FLOPs", cost_figure(run, "flops")),
            ("score against latency", cost_figure(run, "latency")),
        ),
        "drawings": _drawings(run, trusted=trusted),
        "measure": LABELS[measure] if measure else "",
        "top": [_cells(result) for result in ranked(run.results)[:TOP]],
        "trials": len(run.trials),
        "front": _front(run),
        "failures": [_failure(reason, numbers) for reason, numbers in failures(run.results)],
        "facts": _facts(run),
        "settings": [(key, shorten(written(value), ARCH_WIDTH)) for key, value in run.settings.items()],
        "csv": data_uri("text/csv", trials_csv(run).encode("utf-8", "backslashreplace")),
    }


def heading(run: Run) -> str:
    """The title of a run's page, for example "Evolution in ConvSpace: MAML on Omniglot, 5-way 1-shot".

    It is the directory's name if the strategy or the search space is not known.
    """
    option = {group: _option(run, group) for group in ("strategy", "search_space", "meta_learner", "dataset")}
    if not option["strategy"] or not option["search_space"]:
        return run.path.resolve().name
    search = f"{option['strategy']} in {option['search_space']}"
    table = run.settings.get("evaluator.table")
    if table not in (None, "None"):
        return shorten(f"{search}: the table {table}", TITLE_WIDTH)
    return shorten(f"{search}: {option['meta_learner']} on {option['dataset']}{_task(run)}", TITLE_WIDTH)


def _task(run: Run) -> str:
    way, shot = (run.settings.get(f"task.{key}") for key in ("way", "shot"))
    if shot is None:
        return ""
    regression = run.summary["kind"] == "regression" if run.summary else measure_of(run.results) == "loss"
    return f", {shot}-shot regression" if regression else f", {way}-way {shot}-shot"


def _option(run: Run, group: str) -> str:
    key = group + OPTION
    return shown(key, run.settings)[1] if key in run.settings else ""


def standing(run: Run) -> str:
    """A sentence or two about a run that has no result: how far it is, and the command to resume it."""
    wanted = run.settings.get("budget.trials", "?")
    trusted = needs_trust(run.config)
    resume = command_line("resume", run.path.resolve(), trusted=trusted)
    if trusted:
        resume += " (its configuration names code outside nasmeta, or reaches outside the run)"
    if run.status == "failed":
        reason = shorten(str(run.reason), REASON_WIDTH).rstrip(".")
        return f"The run failed: {reason}. Remove the cause, then resume it: {resume}"
    best = f", the best so far: {judged(run.best)}" if run.best else ""
    ended = f"{len(run.trials)} of {wanted} trials have ended{best}"
    if run.finals or run.reference:
        ended += "; the best are being trained in full"
    if run.status == "pruned":
        return f"The study of its sweep ended the run early: {ended}. To go on all the same: {resume}"
    return f"The run is unfinished: {ended}. If it was interrupted, resume it: {resume}"


def _notes(run: Run) -> list[str]:
    summary, notes = run.summary, []
    if run.changes:
        changed = shorten("; ".join(run.changes), REASON_WIDTH)
        notes.append(
            f"Settings were changed while it ran ({changed}): its trials do not all have the same ones."
        )
    if summary is None:
        return notes
    if not summary["trained"]:
        notes.append("No network was trained: the numbers are those of the table, and there is no best.pt.")
    if summary["simulated_seconds"] is not None:
        notes.append(f"The search's trials stand for {duration(summary['simulated_seconds'])} of training.")
    return notes


def _pictures(*figures: tuple[str, Figure | None]) -> list[tuple[str, str]]:
    """(what it shows, its data: URI) of each figure that is not None."""
    return [(what, picture(figure)) for what, figure in figures if figure is not None]


def _drawings(run: Run, *, trusted: bool) -> list[dict[str, str]]:
    """Drawings of the chosen architecture, or the best so far, and of the reference, or why there is none."""
    best = run.summary["best"]["arch"] if run.summary else run.best.arch if run.best else None
    archs = {"reference": run.reference.arch if run.reference else None}
    archs = {name_of_best(run.summary) if run.summary else "best so far": best} | archs
    drawings = []
    for name, arch in archs.items():
        if arch is not None:
            figure = drawn(run, arch, trusted=trusted)
            told = {"missing": figure} if isinstance(figure, str) else {"data": picture(figure)}
            drawings.append({"name": name, "arch": shorten(arch, ARCH_WIDTH), **told})
    return drawings


def _cells(result: TrialResult) -> list[str]:
    cost = [human(result.params), human(result.flops), str(result.iterations), duration(result.seconds)]
    return [str(result.trial), scored(result), *cost, shorten(result.arch, ARCH_WIDTH)]


def _front(run: Run) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the front that a search with several objectives has stored, best first."""
    headers = ["trial", "validation", "parameters", "FLOPs", "latency", "checkpoint", "architecture"]
    rows = [
        [
            str(member["trial"]),
            measured(member["valid_accuracy"], member["valid_loss"], proxy=member["proxy"]),
            human(member["params"]),
            human(member["flops"]),
            "-" if member["latency_ms"] is None else f"{member['latency_ms']:.2f} ms",
            member["checkpoint"] or "-",
            shorten(member["arch"], ARCH_WIDTH),
        ]
        for member in (run.summary or {}).get("pareto") or []
    ]
    used = [n for n in range(len(headers)) if any(row[n] != "-" for row in rows)]
    return [headers[n] for n in used], [[row[n] for n in used] for row in rows]


def _failure(reason: str, numbers: list[int]) -> list[str]:
    listed = ", ".join(map(str, numbers[:NUMBERS_LISTED])) + (", …" if len(numbers) > NUMBERS_LISTED else "")
    return [str(len(numbers)), shorten(reason, REASON_WIDTH), listed]


def _facts(run: Run) -> list[tuple[str, str]]:
    """What the run was made with, and the command that repeats it."""
    source = run.summary or run.environment or {}
    versions = source.get("versions") or {}
    facts = [
        ("seed", str(run.settings.get("seed", "unknown"))),
        ("device", str(source.get("device", "unknown"))),
        ("versions", ", ".join(f"{name} {versions[name]}" for name in NAMES if name in versions)),
        ("trials", f"{len(run.trials)}, {len(run.failed)} of them failed"),
        ("wall time", duration(run.summary["wall_seconds"] if run.summary else run.elapsed)),
        ("report made", time.strftime("%Y-%m-%d %H:%M:%S")),
    ]
    if run.command is not None and not run.changes:
        facts.append(("made again by", str(run.command)))
    return [(name, text) for name, text in facts if text]


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
