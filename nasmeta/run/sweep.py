"""Runs and resumes the jobs of a sweep, by its manifest.

The manifest `sweep.json` lists every job: its number, its directory, its resolved configuration, which
identifies it, and whether it is planned, running, done or failed. The file is replaced atomically under a
lock, so that the jobs of a parallel launcher can all write to it. A job with the status "running" whose
process is gone was interrupted.

A sweeper that proposes jobs by the results of earlier ones (Optuna's) cannot be planned ahead. Its sweep is
resumed by replaying it from its first job. A seeded sweeper that gets the same results proposes the same
jobs. Jobs that are done return their results from the manifest, so none is run or counted twice. Its stored
arguments are Hydra's, which may name files, classes and commands, so the user has to trust them.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from nasmeta.errors import Interrupted, NasmetaError, RunFailed
from nasmeta.run.manifest import Job, Manifest

log = logging.getLogger(__name__)


def run_job(manifest: Manifest, job: Job, run: Callable[[], float]) -> float:
    """Runs a job, keeps its status in the manifest, and returns its result.

    An error is recorded, logged in one line, and raised again.
    """
    number = job.number
    manifest.add(job.model_copy(update={"status": "running", "reason": None}))
    try:
        manifest.make_directory(job)
        result = run()
    except Interrupted as interrupted:
        raise Interrupted(f"job {number}: {interrupted}; the sweep: {manifest.resume_command()}") from None
    except Exception as error:
        reason = str(error) if isinstance(error, NasmetaError) else f"{type(error).__name__}: {error}"
        manifest.mark(number, "failed", reason)
        log.error("job %d failed: %s", number, reason)
        raise
    manifest.mark(number, "done", result=result)
    return result


def resume(manifest: Manifest, run: Callable[[Job, Path], float]) -> None:
    """Runs the jobs that are not done, one after the other in this process, in their own directories.

    run(job, directory) begins or resumes a job and returns its result. Failed jobs are tried again, since the
    reason may be gone, such as a full disk.
    """
    jobs = manifest.read().jobs
    done = sum(job.status == "done" for job in jobs)
    log.info("%s: %d of %d jobs are done", manifest.path, done, len(jobs))
    for job in jobs:
        if job.status != "done":
            resume_job(manifest, job, run)


def resume_job(manifest: Manifest, job: Job, run: Callable[[Job, Path], float]) -> None:
    """Runs one job. If it fails, the manifest and the log say so; only Interrupted is raised."""
    log.info("job %d: %s", job.number, " ".join(job.overrides))
    try:
        run_job(manifest, job, lambda: run(job, manifest.path / job.directory))
    except Exception:  # recorded and reported; the other jobs continue
        log.debug("job %d", job.number, exc_info=True)


def check_all_done(manifest: Manifest) -> None:
    """Raises RunFailed, which names the failed jobs, if there are any."""
    failed = [job for job in manifest.read().jobs if job.status == "failed"]
    if failed:
        told = "; ".join(f"job {job.number} ({' '.join(job.overrides)}): {job.reason}" for job in failed)
        raise RunFailed(
            f"{len(failed)} of the sweep's jobs failed: {told}; try again: {manifest.resume_command()}"
        )
