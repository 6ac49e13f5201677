"""Runs and resumes the jobs of a sweep, by its manifest.

The manifest `sweep.json` lists every job: its number, its directory, its resolved configuration, which
identifies it, and whether it is planned, running, done or failed. The file is replaced atomically under a
lock, so that the jobs of a parallel launcher can all write to it. A job with the status "running" whose
process is gone was interrupted.

The jobs that Optuna proposes cannot be planned ahead; they are added when they begin (nasmeta.run.study).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from nasmeta.errors import Interrupted, NasmetaError, RunFailed, RunPruned
from nasmeta.run import journal
from nasmeta.run.directory import RunDirectory
from nasmeta.run.manifest import Manifest, Numbers, Status, SweepJob
from nasmeta.run.pruning import Prune, Pruning
from nasmeta.run.state import RunState
from nasmeta.run.study import Study

log = logging.getLogger(__name__)

RunJob = Callable[[Prune | None], Numbers]
"""Runs a job, which may be pruned, and returns the numbers of its best network."""

Launch = Callable[[Sequence[SweepJob], Callable[[SweepJob], None]], None]
"""Runs the second argument for each of the jobs."""

RunJobIn = Callable[[SweepJob, Path, Prune | None], Numbers]
"""Runs a job in its directory, as RunJob does."""


def run_job(manifest: Manifest, job: SweepJob, run: RunJob) -> Numbers:
    """Runs a job, keeps its status in the manifest, and returns its numbers.

    An error is recorded, logged in one line, and raised again. That a job is pruned is no error.
    """
    number, plan = job.number, manifest.read()
    manifest.add(job.model_copy(update={"status": "running", "reason": None}))
    pruning = None if plan.study is None else Pruning(plan.study, plan.jobs, number)
    status: Status = "done"
    try:
        manifest.make_directory(job)
        numbers = run(pruning)
    except Interrupted as interrupted:
        raise Interrupted(f"job {number}: {interrupted}; the sweep: {manifest.resume_command()}") from None
    except RunPruned as pruned:
        status, numbers = "pruned", pruned.numbers
        log.info("job %d: %s", number, pruned)
    except Exception as error:
        reason = str(error) if isinstance(error, NasmetaError) else f"{type(error).__name__}: {error}"
        manifest.add(job.model_copy(update={"status": "failed", "reason": reason}))
        log.error("job %d failed: %s", number, reason)
        raise
    ended: dict[str, Any] = {"status": status, "reason": None, "numbers": numbers}
    if pruning is not None:
        events = journal.events(RunDirectory(manifest.path / job.directory).journal)
        pruning(RunState.replay(events).searched)  # a finished job that is resumed does not ask
        ended |= {"scores": pruning.scores, "notes": pruning.notes}
    manifest.add(job.model_copy(update=ended))
    return numbers


def one_by_one(jobs: Sequence[SweepJob], run: Callable[[SweepJob], None]) -> None:
    """Runs jobs one after the other in this process."""
    for job in jobs:
        run(job)


def resume(
    manifest: Manifest,
    run: RunJobIn,
    config_of: Callable[[list[str]], Any],
    *,
    launch: Launch = one_by_one,
    on_failure: str | None = None,
) -> bool:
    """Runs the jobs that are not done, in their own directories. Returns whether there were any.

    run(job, directory, prune): begins or resumes a job. config_of(overrides): composes a job that Optuna
    proposes now. Failed jobs are tried again, since the reason may be gone, such as a full disk; those of a
    study stay failed, since later jobs may depend on that. on_failure: replaces that of the jobs.
    """
    plan = manifest.read()
    done = sum(job.status in ("done", "pruned") for job in plan.jobs)
    log.info("%s: %d of %d jobs are done", manifest.path, done, plan.total or len(plan.jobs))
    if plan.total is None:
        log.warning("%s proposes no further jobs once it is interrupted", plan.sweeper)
    if plan.study is None:
        if failed(manifest):
            manifest.forget_failures()
        batches = iter([[job for job in plan.jobs if job.status != "done"]])
    else:
        batches = _of_study(manifest, Study(plan.study), config_of)
    stops = partial(has_stopped, manifest, on_failure, failed(manifest))
    any_left = False
    for jobs in batches:
        if jobs:
            any_left = True
            launch(jobs, partial(resume_job, manifest, run, stops))
        if stops():
            break
    return any_left


def _of_study(
    manifest: Manifest, study: Study, config_of: Callable[[list[str]], Any]
) -> Iterator[list[SweepJob]]:
    """The jobs of a study that have not ended, in the batches that it proposes."""
    for first, batch in study.batches(manifest):
        known, jobs = manifest.read().by_number(), list[SweepJob]()
        for number, overrides in enumerate(batch, first):
            if number not in known:
                config = config_of(overrides)
                taken = {job.directory for job in (*known.values(), *jobs)}
                name = next(name for name in map(str, count(number)) if name not in taken)
                jobs.append(SweepJob(number=number, directory=name, overrides=overrides, config=config))
            elif known[number].status not in ("done", "pruned", "failed"):
                jobs.append(known[number])
        yield jobs
    study.log_best(manifest)


def resume_job(manifest: Manifest, run: RunJobIn, stops: Callable[[], bool], job: SweepJob) -> None:
    """Runs a job unless the sweep stops. If it fails, the manifest and the log say so.

    Only Interrupted is raised.
    """
    if stops():
        log.warning("job %d does not begin, because another one failed (on_failure=stop)", job.number)
        return
    log.info("job %d: %s", job.number, " ".join(job.overrides))
    try:
        run_job(manifest, job, lambda prune: run(job, manifest.path / job.directory, prune))
    except Exception:  # recorded and reported; the other jobs continue
        log.debug("job %d", job.number, exc_info=True)


def failed(manifest: Manifest) -> frozenset[int]:
    """The numbers of the jobs that have failed."""
    return frozenset(job.number for job in manifest.read().jobs if job.status == "failed")


def has_stopped(
    manifest: Manifest, on_failure: str | None = None, before: frozenset[int] = frozenset()
) -> bool:
    """Whether a job has failed and on_failure=stop, so that no further one may begin.

    on_failure: replaces that of the jobs. before: the jobs that had failed already.
    """
    new = [job for job in manifest.read().jobs if job.status == "failed" and job.number not in before]
    return any((on_failure or job.config["on_failure"]) == "stop" for job in new)


def check_all_done(manifest: Manifest) -> None:
    """Raises RunFailed, which names the failed jobs, if there are any."""
    jobs = manifest.read().jobs
    failed = [job for job in jobs if job.status == "failed"]
    if failed:
        told = "; ".join(f"job {job.number} ({' '.join(job.overrides)}): {job.reason}" for job in failed)
        waiting = sum(job.status == "planned" for job in jobs)
        rest = f"; {waiting} did not begin" if waiting else ""
        raise RunFailed(
            f"{len(failed)} of the sweep's jobs failed: {told}{rest}; try again: {manifest.resume_command()}"
        )
