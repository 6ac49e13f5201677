"""The manifest of a sweep, `sweep.json`: its jobs, and how far each is."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from nasmeta.errors import ConfigError, RunDirectoryError
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import SearchCommand, command_line
from nasmeta.runtime.stored import plain

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
