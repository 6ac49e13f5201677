"""A sweep: the manifest of its jobs, by which an interrupted one goes on.

`sweep.json` lists every job: its number, its directory, its resolved configuration, which is its identity,
and whether it is planned, running, done or failed. It is replaced atomically under a lock, so that the jobs
of a parallel launcher may all write to it. A job that says running and whose process is gone is partial.

A sweeper that proposes jobs by what earlier ones gave (Optuna's) cannot be planned ahead. Its sweep goes on
by being played again from its first job: a seeded sweeper that is told the same proposes the same, jobs that
are done answer from the manifest, and so none is run or counted twice.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from nasmeta.command_lines import SearchCommand, command_line
from nasmeta.errors import ConfigError, Interrupted, NasmetaError, RunDirectoryError, RunFailed
from nasmeta.runtime import files
from nasmeta.stored import plain

log = logging.getLogger(__name__)

MANIFEST = "sweep.json"
_STRICT = ConfigDict(strict=True, extra="forbid")

Status = Literal["planned", "running", "done", "failed"]


def check_inside(directory: str) -> str:
    """`directory`, a job's, relative to its sweep's; raises ValueError if it is not below that."""
    parts = Path(directory).parts
    if not parts or ".." in parts or Path(directory).is_absolute() or "\0" in directory:
        raise ValueError(f"a job's directory is {directory!r:.200}, and has to be inside the sweep's")
    return directory


class Job(BaseModel):
    """One job. `directory` is relative to the sweep's, `config` resolved; `reason` is why it failed.

    `result` is what a sweeper is told of it: the best network's validation score, to be maximized.
    """

    model_config = _STRICT
    number: Annotated[int, Field(ge=0)]
    directory: Annotated[str, AfterValidator(check_inside)]
    overrides: list[str]
    config: Annotated[dict[str, Any], BeforeValidator(plain)]
    status: Status = "planned"
    reason: str | None = None
    result: float | None = None


class Plan(BaseModel):
    """What a manifest holds. `total` is the number of jobs in all; null where the sweeper decides as it goes.

    Jobs that could not be planned ahead are listed when they begin. `arguments` are those of the command,
    `options` the ones of its `--options` that a job by itself is composed with.
    """

    model_config = _STRICT
    format: Literal[1] = 1
    sweeper: str
    total: Annotated[int, Field(ge=0)] | None
    arguments: list[str] = []
    options: list[str] = []
    jobs: list[Job]

    def command(self, job: Job) -> SearchCommand:
        """What makes a job as a run of its own."""
        return SearchCommand(tuple(self.options), tuple(job.overrides))


class Manifest:
    """The manifest of the sweep in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / MANIFEST

    def write(self, plan: Plan) -> None:
        text = json.dumps(plan.model_dump(), indent=1)
        files.write_atomically(self.file, text.encode() + b"\n", inside=self.path)

    def read(self) -> Plan:
        """Raises RunDirectoryError if the manifest is damaged, or a job is not inside the sweep."""
        try:
            data = files.read_bytes(self.file, files.MAX_TABLE, inside=self.path)
            plan = Plan.model_validate(json.loads(data))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise self._damaged(f"{key}: {problem['msg']}") from error
        except OSError as error:
            raise RunDirectoryError(f"{self.file}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise self._damaged(str(error)) from error
        except ConfigError as error:
            raise self._damaged(f"config: {error}") from error
        numbers = set()
        for job in plan.jobs:
            if job.number in numbers or not files.is_inside(self.path / job.directory, self.path):
                raise self._damaged(f"job {job.number} in {job.directory!r} is none of this sweep")
            numbers.add(job.number)
        return plan

    def make_directory(self, job: Job) -> None:
        """Makes a job's directory; raises StorageError if a link is in its place, or on the way to it."""
        path = self.path
        for name in Path(job.directory).parts:
            path = path / name
            files.make_folder(path, inside=self.path)

    def _damaged(self, reason: str) -> RunDirectoryError:
        return RunDirectoryError(
            f"{self.file}: damaged: {reason}; resume the jobs one by one: "
            + command_line("resume", self.path / "NUMBER")
        )

    def resume_command(self) -> str:
        """What goes on with the sweep, also if its jobs or its own command need `--trust-code`."""
        from nasmeta.config import needs_trust
        from nasmeta.replay import replayed

        plan = self.read()
        trusted = any(needs_trust(job.config) for job in plan.jobs)
        if plan.total is None and not trusted:
            try:
                replayed(plan, self.path, trusted=False)
            except RunDirectoryError:
                trusted = True
        return command_line("resume", self.path, trusted=trusted)

    def mark(
        self, number: int, status: Status, reason: str | None = None, result: float | None = None
    ) -> None:
        """Changes the status of a job; one that the manifest does not list is none of its business."""

        def change(plan: Plan) -> None:
            for job in plan.jobs:
                if job.number == number:
                    job.status, job.reason, job.result = status, reason, result

        self._change(change)

    def add(self, job: Job) -> None:
        """Lists a job that was not planned ahead, or a planned one anew."""

        def change(plan: Plan) -> None:
            plan.jobs = sorted([j for j in plan.jobs if j.number != job.number] + [job], key=_number)

        self._change(change)

    def _change(self, change: Callable[[Plan], None]) -> None:
        with files.locked(self.path / ".sweep.json.lock", seconds=-1):  # held for milliseconds
            plan = self.read()
            change(plan)
            self.write(plan)


def _number(job: Job) -> int:
    return job.number


def run_job(manifest: Manifest, job: Job, run: Callable[[], float]) -> float:
    """Runs a job and keeps the manifest; what went wrong is recorded, said in one line, and raised again."""
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
            f"{len(failed)} of the sweep's jobs failed: {told}; try again: {manifest.resume_command()}"
        )
