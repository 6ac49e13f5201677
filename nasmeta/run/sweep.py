"""A sweep: the manifest of its jobs, by which an interrupted one goes on.

`sweep.json` lists every job: its number, its directory, its resolved configuration, which is its identity,
and whether it is planned, running, done or failed. It is replaced atomically under a lock, so that the jobs
of a parallel launcher may all write to it. A job that says running and whose process is gone is partial.

A sweeper that proposes jobs by what earlier ones gave (Optuna's) cannot be planned ahead. Its sweep goes on
by being played again from its first job: a seeded sweeper that is told the same proposes the same, jobs that
are done answer from the manifest, and so none is run or counted twice.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from nasmeta.errors import Interrupted, NasmetaError, RunFailed
from nasmeta.run.manifest import Job, Manifest
from nasmeta.run.replay import resume_command

log = logging.getLogger(__name__)


def run_job(manifest: Manifest, job: Job, run: Callable[[], float]) -> float:
    """Runs a job and keeps the manifest; what went wrong is recorded, said in one line, and raised again."""
    number = job.number
    manifest.add(job.model_copy(update={"status": "running", "reason": None}))
    try:
        manifest.make_directory(job)
        result = run()
    except Interrupted as interrupted:
        raise Interrupted(f"job {number}: {interrupted}; the sweep: {resume_command(manifest)}") from None
    except Exception as error:
        reason = str(error) if isinstance(error, NasmetaError) else f"{type(error).__name__}: {error}"
        manifest.mark(number, "failed", reason)
        log.error("job %d failed: %s", number, reason)
        raise
    manifest.mark(number, "done", result=result)
    return result


def resume(manifest: Manifest, run: Callable[[Job, Path], float]) -> None:
    """Runs what is not done, job by job in this process, with the numbers and directories it had.

    run(job, directory) begins or goes on with a job. Failed ones are tried again: a disk may have been full.
    """
    jobs = manifest.read().jobs
    done = sum(job.status == "done" for job in jobs)
    log.info("%s: %d of %d jobs are done", manifest.path, done, len(jobs))
    for job in jobs:
        if job.status != "done":
            resume_job(manifest, job, run)


def resume_job(manifest: Manifest, job: Job, run: Callable[[Job, Path], float]) -> None:
    """Runs one job; where it fails, the manifest says so."""
    log.info("job %d: %s", job.number, " ".join(job.overrides))
    try:
        run_job(manifest, job, lambda: run(job, manifest.path / job.directory))
    except Exception:  # recorded and said; the others go on
        log.debug("job %d", job.number, exc_info=True)


def check_all_done(manifest: Manifest) -> None:
    """Raises RunFailed that names the failed jobs, if any."""
    failed = [job for job in manifest.read().jobs if job.status == "failed"]
    if failed:
        told = "; ".join(f"job {job.number} ({' '.join(job.overrides)}): {job.reason}" for job in failed)
        raise RunFailed(
            f"{len(failed)} of the sweep's jobs failed: {told}; try again: {resume_command(manifest)}"
        )
