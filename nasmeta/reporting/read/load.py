"""Reads run directories as plain values. Takes no lock and changes nothing: the run may be in progress."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from nasmeta.config.schema import flat
from nasmeta.errors import RunDirectoryError
from nasmeta.reporting.read.differences import Settings, differing_keys, written
from nasmeta.run import journal, records
from nasmeta.run.directory import NAME_ONE, RunDirectory, checked_config
from nasmeta.run.growth import GROWING
from nasmeta.run.manifest import MANIFEST, Manifest, SweepJob
from nasmeta.run.ranking import best_of
from nasmeta.run.records import Finished, JournalEvent, Retried, Started, Tested
from nasmeta.run.state import RunState
from nasmeta.run.summary import read_summary
from nasmeta.runtime.command_lines import SearchCommand
from nasmeta.trial import TrialResult

Status = Literal["done", "failed", "pruned", "unfinished", "planned", "unreadable"]


@dataclass(frozen=True)
class Run:
    """A run, as far as it has come.

    status: "planned" is a job of a sweep that has not begun. "unfinished" is a run in progress or one that
    was interrupted; its directory does not tell which. "pruned" is one that the study of its sweep has ended
    early. reason: why it failed or is unreadable.
    config: resolved plain values, as of the start that led to the result. changes: settings that forced
    resumptions changed. command: repeats the run; None if unknown. environment: versions and device of that
    start. began: time of the first start, in seconds since 1970. trials: those of the search, in the order in
    which they ended. in_flight: how many trials have begun and not ended. elapsed: wall time in seconds.
    summary: what summary.json holds, once done. state: what the events of its journal add up to.
    """

    path: Path
    status: Status
    config: dict[str, Any]
    reason: str | None = None
    command: SearchCommand | None = None
    environment: dict[str, Any] | None = None
    trials: tuple[Finished, ...] = ()
    finals: tuple[TrialResult, ...] = ()
    reference: TrialResult | None = None
    in_flight: int = 0
    elapsed: float = 0.0
    began: float | None = None
    changes: tuple[str, ...] = ()
    summary: dict[str, Any] | None = None
    state: RunState = field(default_factory=RunState)

    @property
    def results(self) -> list[TrialResult]:
        return [trial.result for trial in self.trials]

    @property
    def failed(self) -> list[TrialResult]:
        return [result for result in self.results if result.status == "failed"]

    @property
    def best(self) -> TrialResult | None:
        """The best trial of the search so far."""
        return best_of(self.results)

    def table(self) -> list[dict[str, Any]]:
        """A row for each trial of the search and each full training: its phase and its result.

        elapsed: when a trial ended, in seconds since the start.
        """
        full = {"final": self.finals, "reference": [self.reference] if self.reference else []}
        rows: list[dict[str, Any]] = [
            {"phase": "search", **vars(trial.result), "elapsed": trial.elapsed} for trial in self.trials
        ]
        for phase, results in full.items():
            rows += [{"phase": phase, **vars(result), "elapsed": None} for result in results]
        return rows

    @cached_property
    def settings(self) -> dict[str, str | int | float | bool]:
        """The configuration's values by their dotted keys."""
        return dict(flat(self.config, ""))


def load_run(path: Path, *, latest: bool = False) -> Run:
    """The run in `path`. Raises RunDirectoryError if there is none or its files are damaged.

    A run that has ended and goes on for more is its last result, or as far as it has come if `latest`.
    """
    directory = RunDirectory(path)
    if not path.is_dir():
        raise RunDirectoryError(f"{path}: no such run directory; {NAME_ONE}")
    if not is_run(path):
        raise RunDirectoryError(
            f"{path}: not a run directory: it has no journal.jsonl, config.json or {MANIFEST}; {NAME_ONE}"
        )
    events = journal.events(directory.journal)
    if not latest or not _goes_on(events):
        events = _up_to_result(events)
    state = RunState.replay(events)
    stored = [start.config for start in state.starts if start.config]
    different = [c for n, c in enumerate(stored) if n == 0 or c != stored[n - 1]]  # a long run starts often
    configs = [checked_config(directory.journal, config) for config in different]
    ended = [event for event in events if isinstance(event, Finished)]
    run = Run(
        path=path,
        status="unfinished",
        config=configs[-1] if configs else directory.load_config(),
        command=records.command(events),
        environment=state.starts[-1].values() if state.starts else None,
        began=state.starts[0].at if state.starts else None,
        changes=_changes(configs),
        trials=tuple({e.result.trial: e for e in ended if e.phase == "search"}.values()),
        finals=tuple(result for (phase, _), result in state.finished.items() if phase == "final"),
        reference=_reference([r for (phase, _), r in state.finished.items() if phase == "reference"]),
        in_flight=len(state.asked) - len(state.searched),
        elapsed=state.elapsed,
        state=state,
    )
    if state.tested is not None:
        summary = read_summary(directory.summary, state.tested.checksum)
        return replace(run, status="done", summary=summary)
    if state.pruned:
        return replace(run, status="pruned")
    reason = _failure(run)
    return run if reason is None else replace(run, status="failed", reason=reason)


def _up_to_result(events: list[JournalEvent]) -> list[JournalEvent]:
    """The events up to the last result; a later start, perhaps with other settings, gave none."""
    tested = [number for number, event in enumerate(events) if isinstance(event, Tested)]
    return events[: tested[-1] + 1] if tested else events


def _goes_on(events: list[JournalEvent]) -> bool:
    """Whether the run was asked for more after its last result."""
    later = events[len(_up_to_result(events)) :]
    return any(isinstance(e, Retried) or (isinstance(e, Started) and e.added) for e in later)


def is_run(path: Path) -> bool:
    directory = RunDirectory(path)
    return directory.journal.is_file() or directory.config.is_file()


def is_sweep(path: Path) -> bool:
    return Manifest(path).file.is_file()


def load_sweep(path: Path) -> list[Run]:
    """The jobs of the sweep in `path` by number, including those that have not begun.

    Raises RunDirectoryError if the manifest is damaged. A job with a damaged directory is "unreadable".
    """
    plan = Manifest(path).read()
    return [_job(path, job, plan.command(job)) for job in plan.jobs]


def load_all(paths: Sequence[Path]) -> list[Run]:
    """The runs in all `paths`, each once. A sweep stands for its jobs, a folder for the runs below it.

    Raises RunDirectoryError if a path holds no run, or names a damaged run itself. A damaged run that is
    found below a folder is "unreadable".
    """
    found: dict[Path, Run] = {}
    for path in paths:
        for run in _runs_at(path):
            found.setdefault(run.path.resolve(), run)
    if not found:
        raise RunDirectoryError(f"{paths[0]}: no job of this sweep has begun; resume it first")
    return list(found.values())


def _runs_at(path: Path) -> list[Run]:
    if is_sweep(path):
        return load_sweep(path)
    if is_run(path) or not path.is_dir():
        return [load_run(path)]
    below = [run for place in _places(path) for run in _or_unreadable(place)]
    if not below:
        raise RunDirectoryError(
            f"{path}: holds no run: name a run, a sweep, or a folder of them, such as outputs"
        )
    return below


def _places(folder: Path) -> Iterator[Path]:
    """The runs and sweeps below a folder, sorted by name. Does not look inside them."""
    for name, folders, _ in os.walk(folder):
        place = Path(name)
        folders.sort()
        if is_sweep(place) or is_run(place):
            folders.clear()
            yield place


def _or_unreadable(path: Path) -> list[Run]:
    try:
        return load_sweep(path) if is_sweep(path) else [load_run(path)]
    except RunDirectoryError as error:
        return [Run(path, "unreadable", {}, reason=str(error))]


def _job(sweep: Path, job: SweepJob, command: SearchCommand) -> Run:
    """A job of a sweep. The manifest counts for what the directory does not tell, such as a failure."""
    path = sweep / job.directory
    status: Status = job.status if job.status in ("planned", "failed") else "unfinished"
    reason = job.reason if status == "failed" else None
    listed = Run(path, status, job.config, reason=reason, command=command)
    if not is_run(path):
        if job.status == "done":
            gone = f"{path}: the job is done, but its directory is gone"
            return replace(listed, status="unreadable", reason=gone)
        return listed
    run = _or_unreadable(path)[0]
    if run.status == "unreadable":
        return replace(listed, status="unreadable", reason=run.reason)
    if status == "failed" and run.status != "done":
        run = replace(run, status="failed", reason=job.reason)
    return replace(run, command=run.command or command)


def _changes(configs: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The settings in which the starts differ, like "task.shot: 1, 5", except budgets that may grow."""
    settings: list[Settings] = [dict(flat(config, "")) for config in configs]
    values = {
        key: dict.fromkeys(written(each.get(key, "-")) for each in settings)
        for key in differing_keys(settings)
        if key not in GROWING
    }
    return tuple(f"{key}: {', '.join(found)}" for key, found in values.items())


def _reference(results: Sequence[TrialResult]) -> TrialResult | None:
    """The reference's best network of those trained longest; a failed one if all failed."""
    return best_of(results) or next(iter(results), None)


def _failure(run: Run) -> str | None:
    """Why an untested run cannot continue, or None: all its trials or all its final trainings failed."""
    if run.trials and len(run.failed) == len(run.trials) and run.in_flight == 0:
        return f"all {len(run.trials)} trials failed, the last one: {run.results[-1].reason}"
    results = [*run.finals, *([run.reference] if run.reference and run.trials else [])]
    wanted = run.settings.get("budget.final_candidates")
    if len(run.finals) == wanted and all(r.status == "failed" for r in results):
        return "every network of the finals failed: " + "; ".join(str(r.reason) for r in results)
    return None
