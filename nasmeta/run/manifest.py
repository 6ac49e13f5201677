"""The manifest of a sweep, `sweep.json`: its jobs and the status of each."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from nasmeta.config.schema import needs_trust
from nasmeta.errors import ConfigError, RunDirectoryError
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import SearchCommand, command_line
from nasmeta.runtime.stored import plain
from nasmeta.runtime.validation import first_problem

log = logging.getLogger(__name__)

MANIFEST = "sweep.json"
_STRICT = ConfigDict(strict=True, extra="forbid")

Status = Literal["planned", "running", "done", "pruned", "failed"]

Number = Annotated[float, Field(allow_inf_nan=False)]
Measure = Literal["score", "params", "flops", "memory", "flash"]
Numbers = dict[Measure, Number]
"""The numbers of a job's best network: its validation score, of which more is better, and its costs."""


def numbers_of(best: dict[str, Any], score: float) -> Numbers:
    """The numbers that a study may have as objectives and constraints, as far as they are known."""
    costs: tuple[Measure, ...] = ("params", "flops", "memory", "flash")
    known = {name: float(best[name]) for name in costs if best.get(name) is not None}
    return {"score": score, **known}


def check_inside(directory: str) -> str:
    """Returns a job's `directory`, relative to its sweep's; raises ValueError if it is not inside that."""
    parts = Path(directory).parts
    if not parts or ".." in parts or Path(directory).is_absolute() or "\0" in directory:
        raise ValueError(f"a job's directory must be inside its sweep's, not {directory!r:.200}")
    return directory


class SweepJob(BaseModel):
    """One job of a sweep.

    directory: relative to the sweep's. config: resolved. reason: why the job failed. numbers: those of its
    best network. scores, notes: what a study's pruner has seen and noted (see nasmeta.run.pruning).
    """

    model_config = _STRICT
    number: Annotated[int, Field(ge=0)]
    directory: Annotated[str, AfterValidator(check_inside)]
    overrides: list[str]
    config: Annotated[dict[str, Any], BeforeValidator(plain)]
    status: Status = "planned"
    reason: str | None = None
    numbers: Numbers = {}
    scores: list[Number | None] = []
    notes: dict[str, Number] = {}


def _named(value: Any) -> Any:
    named = {"name": value} if isinstance(value, str) else value
    return plain(named) if isinstance(named, dict) else named


Named = Annotated[dict[str, Any], BeforeValidator(_named)]
"""The name of a class, or a mapping with its name and its arguments."""


class StudySettings(BaseModel):
    """The settings of conf/hydra/sweeper/optuna.yaml, checked, and what is swept over.

    seed: of a sampler that is given none. fixed: the overrides that all jobs share. space: a distribution in
    Optuna's JSON for every key that is swept over.
    """

    model_config = _STRICT
    n_trials: Annotated[int, Field(ge=1, le=100_000)]
    n_jobs: Annotated[int, Field(ge=1, le=10_000)]
    sampler: Named
    pruner: Named
    objectives: Annotated[list[Measure], Field(min_length=1)]
    constraints: dict[Measure, Number]
    seed: Annotated[int, Field(ge=0)]
    fixed: list[str]
    space: Annotated[dict[str, str], Field(min_length=1)]


PLAIN_LAUNCHER = r"hydra/launcher=[\w-]+|hydra\.launcher\.[a-z]\w*=[\w:.-]+"
"""An override of a launcher that names no code and no command: a sweep from elsewhere may suggest it."""


class SweepPlan(BaseModel):
    """What a manifest holds.

    total: the most jobs that there will be; null if the sweeper decides that. jobs: those that could not be
    planned ahead are added when they begin. options: the command's options, such as `--config-dir`, that a
    job needs if it is run by itself. search_path: the override of Hydra's search path, if there is one.
    launcher: the overrides that chose it, for the command that resumes the sweep, if all are plain; they have
    an effect only if a user types them. study: that of Optuna's sweeper.
    """

    model_config = _STRICT
    format: Literal[1] = 1
    sweeper: str
    total: Annotated[int, Field(ge=0)] | None
    options: list[str] = []
    search_path: list[str] = []
    launcher: list[Annotated[str, Field(pattern=rf"^({PLAIN_LAUNCHER})$")]] = []
    study: StudySettings | None = None
    jobs: list[SweepJob]

    def by_number(self) -> dict[int, SweepJob]:
        return {job.number: job for job in self.jobs}

    def command(self, job: SweepJob) -> SearchCommand:
        """The command that makes a job as a single run."""
        return SearchCommand(tuple(self.options), (*self.search_path, *job.overrides))


class Manifest:
    """The manifest of the sweep in the directory `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / MANIFEST

    def write(self, plan: SweepPlan) -> None:
        text = json.dumps(plan.model_dump(), indent=1)
        files.write_atomically(self.file, text.encode() + b"\n", inside=self.path)

    def read(self) -> SweepPlan:
        """Raises RunDirectoryError if the manifest is damaged, or a job is not inside the sweep."""
        try:
            data = files.read_bytes(self.file, files.MAX_TABLE, inside=self.path)
            plan = SweepPlan.model_validate(json.loads(data))
        except ValidationError as error:
            raise self._damaged(first_problem(error)) from error
        except OSError as error:
            raise RunDirectoryError(f"{self.file}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise self._damaged(str(error)) from error
        except ConfigError as error:
            raise self._damaged(f"config: {error}") from error
        numbers = set()
        for job in plan.jobs:
            if job.number in numbers or not files.is_inside(self.path / job.directory, self.path):
                raise self._damaged(f"job {job.number} in {job.directory!r} does not belong to this sweep")
            numbers.add(job.number)
        return plan

    def resume_command(self) -> str:
        """The command that resumes the sweep, with `--trust-code` if that is necessary."""
        plan = self.read()
        composes = plan.study is not None and bool(plan.options or plan.search_path)
        trusted = composes or any(needs_trust(job.config) for job in plan.jobs)
        return command_line("resume", self.path, *plan.launcher, trusted=trusted)

    def make_directory(self, job: SweepJob) -> None:
        """Makes a job's directory; raises UserError if a link is in its place or on the way to it."""
        path = self.path
        for name in Path(job.directory).parts:
            path = path / name
            files.make_folder(path, inside=self.path)

    def _damaged(self, reason: str) -> RunDirectoryError:
        return RunDirectoryError(
            f"{self.file}: damaged: {reason}; resume the jobs one by one: "
            + command_line("resume", self.path / "NUMBER")
        )

    def add(self, job: SweepJob) -> None:
        """Adds a job; it replaces a listed job of the same number."""
        with self._changing() as plan:
            jobs = plan.by_number() | {job.number: job}
            plan.jobs = [jobs[number] for number in sorted(jobs)]

    def extend(self, jobs: Sequence[SweepJob]) -> None:
        """Adds jobs with numbers of their own. Raises RunDirectoryError if something is in their places."""
        for job in jobs:
            if (self.path / job.directory).exists():
                raise RunDirectoryError(
                    f"{self.path / job.directory}: exists, but is no job of the sweep; move it"
                )
        with self._changing() as plan:
            plan.jobs += jobs
            plan.total = len(plan.jobs)

    def forget_failures(self) -> None:
        """Makes the failed jobs planned ones, to be tried again."""
        with self._changing() as plan:
            plan.jobs = [
                job.model_copy(update={"status": "planned", "reason": None})
                if job.status == "failed"
                else job
                for job in plan.jobs
            ]

    def keep_study(self, study: StudySettings) -> None:
        """Replaces the settings of the study, which may ask for more jobs than before."""
        with self._changing() as plan:
            plan.study, plan.total = study, study.n_trials

    @contextmanager
    def _changing(self) -> Iterator[SweepPlan]:
        """Yields the plan, and writes it after the block. Other processes wait; it takes milliseconds."""
        with files.locked(self.path / ".sweep.json.lock", "sweep", wait=True):
            plan = self.read()
            yield plan
            self.write(plan)
