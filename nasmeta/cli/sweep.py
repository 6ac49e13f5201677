"""Sweeps that Hydra runs: planned and written down before the first job."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from nasmeta.cli import launcher as launchers
from nasmeta.cli import output
from nasmeta.config.conf_dir import config_directory
from nasmeta.config.schema import Config, parse
from nasmeta.config.tuning import tuned
from nasmeta.errors import ArchitectureError, ConfigError, DataError, NasmetaError
from nasmeta.run import sweep
from nasmeta.run.manifest import PLAIN_LAUNCHER, Manifest, StudySettings, SweepJob, SweepPlan, check_inside
from nasmeta.run.study import Study, searched
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import SearchCommand, command_line
from nasmeta.runtime.validation import validated

if TYPE_CHECKING:
    from nasmeta.run.composition import Composition

log = logging.getLogger(__name__)


class Refused(BaseException):
    """Carries an error through Hydra; `error` is the original.

    It does not derive from Exception. Hydra only warns of an Exception in a callback, and prints all
    overrides first if one is raised in a job.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def start(config: DictConfig) -> "Composition | None":
    """Checks the jobs of a sweep and writes its manifest; returns what was built to check the first job."""
    words = {"options": list(command_of(config.hydra).options), "search_path": _search_path(config.hydra)}
    chosen = launchers.chosen(config.hydra.overrides.hydra)
    launcher = chosen if all(re.fullmatch(PLAIN_LAUNCHER, each) for each in chosen) else []
    plan = _planned(config).model_copy(update={**words, "launcher": launcher})
    output.check(config, "sweep", [job.directory for job in plan.jobs])
    composition = _check_data(plan)
    output.claim(config, "sweep")
    _current.begin(Path(str(config.hydra.sweep.dir)), plan)
    return composition


def _check_data(plan: SweepPlan) -> "Composition | None":
    """The composition of the first job, if all jobs have the same dataset and it is ready.

    Raises DataError if the dataset is missing or damaged, and ArchitectureError if the architecture to train
    is wrong. Any other error of a job is reported when its turn comes, since it affects no other job.
    """
    from nasmeta.run.constraints import ready

    if plan.jobs and all(job.config["dataset"] == plan.jobs[0].config["dataset"] for job in plan.jobs):
        try:
            return ready(parse(plan.jobs[0].config, trusted=True))
        except (ArchitectureError, DataError):
            raise
        except NasmetaError:
            pass
    return None


def command_of(hydra: Any) -> SearchCommand:
    """The command that makes the job of Hydra's configuration `hydra` again, as a single run."""
    options = []
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            options += ["--config-dir", str(source.path)]
        elif source.provider == "main" and Path(source.path) != config_directory():
            options += ["--config-path", str(source.path)]
    if hydra.job.config_name not in (None, "search"):
        options += ["--config-name", str(hydra.job.config_name)]
    return SearchCommand(tuple(options), (*_search_path(hydra), *hydra.overrides.task))


def _search_path(hydra: Any) -> list[str]:
    """The override of Hydra's search path, if there is one."""
    return [str(o) for o in hydra.overrides.hydra if str(o).lstrip("+").startswith("hydra.searchpath=")]


class Sweep:
    """The sweep that this process begins, if any, with its manifest and its lock."""

    def __init__(self) -> None:
        self.manifest: Manifest | None = None
        self.held = ExitStack()
        """Holds the sweep's lock once the sweep has begun."""

    def begin(self, directory: Path, plan: SweepPlan) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.held.enter_context(files.locked(directory / "sweep.lock", "sweep"))
        self.manifest = Manifest(directory)
        self.manifest.write(plan)

    def conclude(self) -> None:
        """Prints commands to run next. Raises RunFailed, which names the failed jobs, if there are any."""
        if self.manifest is not None:
            conclude(self.manifest)


_current = Sweep()


@contextmanager
def current() -> Iterator[Sweep]:
    """Yields the sweep that Hydra begins inside the block, if it does."""
    global _current
    _current = Sweep()
    with _current.held:
        yield _current


def conclude(manifest: Manifest) -> None:
    """Prints commands that show the sweep. Raises RunFailed, which names failed jobs, if there are any."""
    commands = (command_line(command, manifest.path) for command in ("compare", "report"))
    print("\n".join(f"  {command}" for command in commands), flush=True)
    sweep.check_all_done(manifest)


def run_job(manifest: Manifest, job: SweepJob, run: sweep.RunJob) -> float | None:
    """Runs a job that Hydra starts; returns its validation score, or None if it failed."""
    if sweep.has_stopped(manifest):
        log.warning("job %d does not begin, because another one failed (on_failure=stop)", job.number)
        return None
    with suppress(Exception):  # recorded and reported; the other jobs continue
        return sweep.run_job(manifest, job, run)["score"]
    return None


def launch_study(launcher: Launcher) -> list[Sequence[JobReturn]]:
    """Runs the jobs of the sweep that this process has begun as Optuna proposes them."""
    manifest = _current.manifest
    assert manifest is not None, "`start` has begun it"
    settings = manifest.read().study
    assert settings is not None, "`start` has planned it"
    study, ended = Study(settings), []
    for first, batch in study.batches(manifest):
        ended.append(launcher.launch(batch, initial_job_idx=first))
        for job in ended[-1]:
            _ = job.return_value  # raises what the job raised
        if sweep.has_stopped(manifest):
            break
    study.log_best(manifest)
    return ended


def _planned(config: DictConfig) -> SweepPlan:
    """The plan of a sweep, with each job composed and checked, so that a misspelt one ends the sweep here.

    With Hydra's own sweeper, it has all jobs. With Optuna's, it has the first batch. Other sweepers decide as
    they go, and their plan has no jobs. `config` is the sweep's own configuration, with the overrides as they
    were written.
    """
    sweeper = config.hydra.sweeper
    target = str(sweeper._target_)
    if not target.endswith((".BasicSweeper", ".OptunaSweeper")):
        return SweepPlan(sweeper=target, total=None, jobs=[])
    loader = GlobalHydra.instance().config_loader()
    written = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(
        [*written, *config.hydra.overrides.task]
    )
    study = None
    if target.endswith(".BasicSweeper"):
        proposed = [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
    else:
        study = _study(config, overrides)
        first = Study(study)
        for extreme in first.extremes():
            _checked(loader.load_sweep_config(config, extreme))
        proposed = first.ask(min(study.n_jobs, study.n_trials))
    jobs = [_planned_job(loader.load_sweep_config(config, job), job, n) for n, job in enumerate(proposed)]
    if not jobs:
        raise ConfigError(f"{' '.join(config.hydra.overrides.task)}: gives no job; give each key a value")
    _check_directories(jobs)
    total = len(jobs) if study is None else study.n_trials
    return SweepPlan(sweeper=target, total=total, study=study, jobs=jobs)


def _check_directories(jobs: list[SweepJob]) -> None:
    """Raises ConfigError if two jobs have the same directory."""
    first: dict[str, int] = {}
    for job in jobs:
        other = first.setdefault(os.path.normpath(job.directory), job.number)
        if other != job.number:
            raise ConfigError(
                f"hydra.sweep.subdir: jobs {other} and {job.number} both get {job.directory!r}; add "
                "${hydra.job.num} to it"
            )


def _study(config: DictConfig, overrides: list[Override]) -> StudySettings:
    """The settings of Optuna's sweeper; raises ConfigError if one is wrong."""
    fixed, space = searched(overrides)
    if not space:
        raise ConfigError(
            "hydra/sweeper=optuna: nothing to sweep over; add KEY=interval(0.001,0.1) or KEY=a,b"
        )
    values = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    assert isinstance(values, dict)
    kept = {str(k): v for k, v in values.items() if k not in ("_target_", "params")}
    kept["constraints"] = kept["constraints"] or {}
    own = {"seed": config.seed, "fixed": fixed, "space": space}
    return validated(StudySettings, kept | own, "hydra.sweeper.")


def _planned_job(composed: DictConfig, overrides: list[str], number: int) -> SweepJob:
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    directory = job_directory(composed.hydra)
    config = _checked(composed).to_dict()
    return SweepJob(number=number, directory=directory, overrides=overrides, config=config)


def _checked(composed: DictConfig) -> Config:
    """A job's configuration; raises ConfigError if it is wrong by itself, what it tunes included."""
    config = parse(without_hydra(composed), trusted=True)
    tuned(config)
    return config


def job_directory(hydra: Any) -> str:
    """The directory of a job, relative to its sweep's; raises ConfigError if it is not inside that."""
    try:
        return check_inside(str(hydra.sweep.subdir))
    except ValueError as error:
        raise ConfigError(f"hydra.sweep.subdir: {error}") from error


def without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
