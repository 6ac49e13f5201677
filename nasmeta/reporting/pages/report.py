"""`nasmeta report DIR`: a run as one HTML page that needs no other file."""

import time
from pathlib import Path
from typing import Any

from nasmeta.config.schema import needs_trust
from nasmeta.reporting.figures.curves import cost_figure, search_figure
from nasmeta.reporting.figures.learning import (
    learning_figure,
    operations_figure,
    tasks_figure,
    values_figures,
)
from nasmeta.reporting.learning import learning_curves
from nasmeta.reporting.numbers import duration, judged, shorten, when
from nasmeta.reporting.pages.drawing import drawn, preferred
from nasmeta.reporting.pages.page import data_uri, picture, pictures, tile, write_page
from nasmeta.reporting.pages.sweep import write_sweep_report
from nasmeta.reporting.pages.trials import ARCH_WIDTH, best_trials, stored_front, trials_csv
from nasmeta.reporting.read.differences import option_name, written
from nasmeta.reporting.read.load import Run, is_run, load_all, load_run
from nasmeta.reporting.read.origins import growth, warm_start
from nasmeta.reporting.read.ranking import failures, measure_of
from nasmeta.reporting.read.summary_facts import is_regression, name_of_best
from nasmeta.reporting.tables.closing import difference_line, result_rows
from nasmeta.reporting.tables.verdict import verdict
from nasmeta.run.directory import RunDirectory
from nasmeta.run.per_task import Episode, PerTask
from nasmeta.runtime.command_lines import command_line

REASON_WIDTH = 400
TITLE_WIDTH = 120
NUMBERS_LISTED = 12
NAMES = ("nasmeta", "python", "torch", "numpy")


def write_report(path: Path, output: Path | None, *, trusted: bool, refresh: float | None = None) -> Path:
    """Writes the page of a run, a sweep or a folder of runs to `output`, and returns the path of the page.

    The default is `path`/report.html. `trusted` is as in `drawing.drawn`. With `refresh`, the page reloads
    itself every so many seconds. Raises RunDirectoryError if there
    is no run or sweep, or if it is damaged.
    """
    output = path / "report.html" if output is None else output
    if path.is_dir() and not is_run(path):
        write_sweep_report(path, output, refresh)
    else:
        write_page("report.html.jinja", output, _values(load_run(path), trusted=trusted), refresh)
    return output


def is_over(path: Path) -> bool:
    """Whether no run in `path` goes on, or is still to begin."""
    return not any(run.status in ("unfinished", "planned") or _goes_on(run) for run in load_all([path]))


def _goes_on(run: Run) -> bool:
    """Whether a run that has ended goes on with a larger budget."""
    return run.status == "done" and load_run(run.path, latest=True).status == "unfinished"


def _values(run: Run, *, trusted: bool) -> dict[str, Any]:
    """The values for the template: text, numbers as text, pictures as data: URIs."""
    summary, directory = run.summary, RunDirectory(run.path)
    curves, tasks = learning_curves(directory.learning), PerTask.load(directory.per_task)
    graphs, values = preferred(run, trusted=trusted)
    name = name_of_best(summary) if summary else ""
    regression = is_regression(summary) if summary else measure_of(run.results) == "loss"
    return {
        "title": heading(run),
        "began": when(run.began),
        "path": str(run.path.resolve()),
        "verdict": verdict(summary) if summary else standing(run),
        "status": run.status,
        "result": result_rows(summary) if summary else None,
        "difference": difference_line(summary) if summary else "",
        "notes": _notes(run),
        "search": pictures(
            ("score of each trial, in the order in which they ended", search_figure(run, "trials")),
            ("score of each trial over time", search_figure(run, "time")),
        ),
        "cost": pictures(
            ("score against parameters", cost_figure(run, "params")),
            ("score against FLOPs", cost_figure(run, "flops")),
            ("score against memory", cost_figure(run, "memory")),
            ("score against latency", cost_figure(run, "latency")),
        ),
        "learning": pictures(("how the networks learned", learning_figure(curves, regression))),
        "preferred": pictures(
            ("the operations of the networks, over the search", operations_figure(graphs)),
            *((f"{name}, over the search", figure) for name, figure in values_figures(values)),
        ),
        "tasks": pictures(("how the test tasks went", tasks_figure(tasks, name, regression)))
        if tasks and name
        else [],
        "episode": _episode(tasks.episode) if tasks and tasks.episode else None,
        "drawings": _drawings(run, trusted=trusted),
        "top": best_trials(run),
        "trials": len(run.trials),
        "front": stored_front(run),
        "failures": [_failure(reason, numbers) for reason, numbers in failures(run.results)],
        "facts": _facts(run),
        "settings": [(key, shorten(written(value), ARCH_WIDTH)) for key, value in run.settings.items()],
        "csv": data_uri("text/csv", trials_csv(run).encode("utf-8", "backslashreplace")),
    }


def heading(run: Run) -> str:
    """The title of a run's page, for example "evolution in conv: maml on omniglot, 5-way 1-shot".

    It is the directory's name if the strategy or the search space is not known.
    """
    groups = ("strategy", "search_space", "meta_learner", "dataset")
    option = {group: option_name(group, run.settings) for group in groups}
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
    if grown := growth(run):
        notes.append(f"The run's budget grew: {grown}.")
    if brought := warm_start(run):
        notes.append(f"The search began with {shorten(brought, REASON_WIDTH)}.")
    if summary is None:
        return notes
    if not summary["trained"]:
        notes.append("No network was trained: the numbers are those of the table, and there is no best.pt.")
    if summary["simulated_seconds"] is not None:
        notes.append(f"The search's trials stand for {duration(summary['simulated_seconds'])} of training.")
    return notes


def _episode(episode: Episode) -> dict[str, list[dict[str, str]]]:
    """The tiles of a task: its support images, and its queries from the surest answer to the least sure."""
    support = [
        {"data": tile(image), "text": f"class {label + 1}", "right": ""}
        for image, label in zip(episode.support, episode.support_y.tolist(), strict=True)
    ]
    answers = [
        {
            "data": tile(image),
            "text": f"class {row.argmax() + 1}, {100 * row.max():.0f}\N{NO-BREAK SPACE}%",
            "right": "right" if row.argmax() == label else f"wrong: class {label + 1}",
        }
        for image, label, row in zip(
            episode.query, episode.query_y.tolist(), episode.probabilities, strict=True
        )
    ]
    half = (len(answers) + 1) // 2
    return {"support": support, "surest": answers[:half], "least": answers[half:]}


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


def _failure(reason: str, numbers: list[int]) -> list[str]:
    listed = ", ".join(map(str, numbers[:NUMBERS_LISTED])) + (", …" if len(numbers) > NUMBERS_LISTED else "")
    return [str(len(numbers)), shorten(reason, REASON_WIDTH), listed]


def _facts(run: Run) -> list[tuple[str, str]]:
    """What the run was made with, and the command that repeats it."""
    source = run.summary or run.environment or {}
    versions, execution = source.get("versions") or {}, source.get("execution") or {}
    facts = [
        ("seed", str(run.settings.get("seed", "unknown"))),
        ("device", str(source.get("device", "unknown"))),
        ("execution", ", ".join(f"{name} {value}" for name, value in execution.items())),
        ("versions", ", ".join(f"{name} {versions[name]}" for name in NAMES if name in versions)),
        ("trials", f"{len(run.trials)}, {len(run.failed)} of them failed"),
        ("wall time", duration(run.summary["wall_seconds"] if run.summary else run.elapsed)),
        ("report made", time.strftime("%Y-%m-%d %H:%M:%S")),
    ]
    if run.command is not None and not run.changes:
        facts.append(("made again by", str(run.command)))
    return [(name, text) for name, text in facts if text]
