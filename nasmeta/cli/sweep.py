"""Sweeps that Hydra runs: planned and written down before the first job, replayed if the sweeper learns."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from nasmeta.cli import output
from nasmeta.config.conf_dir import config_directory
from nasmeta.config.schema import parse
from nasmeta.errors import (
    ArchitectureError,
    ConfigError,
    DataError,
    NasmetaError,
    RunDirectoryError,
    RunFailed,
)
from nasmeta.run import sweep
from nasmeta.run.manifest import Job, Manifest, Plan, check_inside
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import SearchCommand, command_line

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
    """Checks the jobs of a sweep and writes its manifest, unless the sweep is replayed.

    Returns what was built to check the first job, if it was.
    """
    _adapt(config)
    if _current.replays:
        _in_memory(config)
        return None
    options = list(command_of(config.hydra).options)
    plan = _planned(config).model_copy(update={"arguments": _current.arguments, "options": options})
    composition = _check_data(plan)
    output.claim(config, "sweep")
    _current.begin(Path(str(config.hydra.sweep.dir)), plan)
    return composition


def _check_data(plan: Plan) -> "Composition | None":
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
    overrides = hydra.overrides
    search_path = [o for o in overrides.hydra if str(o).lstrip("+").startswith("hydra.searchpath=")]
    return SearchCommand(tuple(options), (*search_path, *overrides.task))


def _adapt(config: DictConfig) -> None:
    """Sets defaults of a sweeper that learns (Optuna's), unless the user has set them.

    The result is maximized, a failed job does not stop the others, and the sampler gets the run's seed.
    Without a seed, it would propose other jobs each time.
    """
    typed = _typed(config.hydra)
    for key, value in {"direction": "maximize", "max_failure_rate": 1.0, "n_jobs": 1}.items():
        if key in config.hydra.sweeper and f"hydra.sweeper.{key}" not in typed:
            config.hydra.sweeper[key] = value
    if OmegaConf.select(config, "hydra.sweeper.sampler.seed", default="") is None:
        config.hydra.sweeper.sampler.seed = config.seed


def _typed(hydra: Any) -> set[str]:
    """The keys of Hydra's own configuration that the user set."""
    return {str(override).lstrip("+").partition("=")[0] for override in hydra.overrides.hydra}


def _in_memory(config: DictConfig) -> None:
    """Keeps a replayed study in memory. A stored study would count the jobs that it has a second time."""
    if OmegaConf.select(config, "hydra.sweeper.storage") is not None:
        log.warning(
            "hydra.sweeper.storage: %s is left as it is; the study continues in memory",
            config.hydra.sweeper.storage,
        )
        config.hydra.sweeper.storage = None


class Sweep:
    """The sweep that this process begins or replays, if any, with its manifest and its lock.

    arguments: those of the command. manifest: that of a sweep to replay; None for a new sweep or a run.
    """

    def __init__(self, arguments: list[str], manifest: Manifest | None) -> None:
        self.arguments, self.manifest = arguments, manifest
        self.replays = manifest is not None
        self.held = ExitStack()
        """Holds the sweep's lock once the sweep has begun."""

    def begin(self, directory: Path, plan: Plan) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.held.enter_context(files.locked(directory / "sweep.lock", "sweep"))
        self.manifest = Manifest(directory)
        self.manifest.write(plan)

    def check_all_done(self) -> None:
        """Raises RunFailed, which names the failed jobs, if there are any."""
        if self.manifest is not None:
            sweep.check_all_done(self.manifest)


_current = Sweep([], None)


@contextmanager
def current(arguments: list[str], replayed: Manifest | None = None) -> Iterator[Sweep]:
    """Yields the sweep that Hydra begins or replays inside the block, if it does.

    arguments: those of the command. replayed: the manifest of the sweep to replay, if there is one.
    """
    global _current
    _current = Sweep(arguments, replayed)
    with _current.held:
        yield _current


def run_job(manifest: Manifest, job: Job, run: Callable[[], float]) -> float | None:
    """Runs a job that Hydra starts, and returns the result for its sweeper; None if the job failed.

    In a replayed sweep, a job that is done or failed is not run again. Raises Refused if the sweeper proposes
    another job than before. Raises a failed job's error if the sweeper limits the rate of failures.
    """
    plan = manifest.read()
    earlier = next((j for j in plan.jobs if j.number == job.number), None)
    if not plan.learns:
        with suppress(Exception):  # recorded and reported; the other jobs continue
            return sweep.run_job(manifest, job, run)
        return None
    if earlier is not None and earlier.overrides != job.overrides:
        raise Refused(
            RunDirectoryError(
                f"{manifest.file}: job {job.number} was {' '.join(earlier.overrides)}, and its sweeper now "
                f"proposes {' '.join(job.overrides)}: it has no seed, or its settings or version have "
                f"changed; resume the jobs one by one: "
                + command_line("resume", manifest.path / job.directory)
            )
        )
    if earlier is not None and earlier.status == "done" and earlier.result is not None:
        log.info("job %d is done: %g", job.number, earlier.result)
        return earlier.result
    try:
        if earlier is not None and earlier.status == "failed":
            raise RunFailed(f"job {job.number} failed: {earlier.reason}")
        return sweep.run_job(manifest, job, run)
    except Exception:
        if "hydra.sweeper.max_failure_rate" in _typed(HydraConfig.get()):
            raise  # the sweeper counts failures, and may end
        return None  # no number: Optuna's sweeper takes the job for failed, and Hydra prints nothing


logging.getLogger("hydra_plugins.hydra_optuna_sweeper._impl").addFilter(
    lambda record: not str(record.msg).startswith("Failed experiment")  # `run_job` has logged the reason
)


def _planned(config: DictConfig) -> Plan:
    """The plan of a sweep. With Hydra's own sweeper, it has all jobs, each composed and checked.

    So a misspelt job ends the sweep here. Other sweepers decide as they go, and their plan has no jobs.
    `config` is the sweep's own configuration, with the overrides as they were written.
    """
    sweeper = config.hydra.sweeper
    if not str(sweeper._target_).endswith(".BasicSweeper"):
        return Plan(sweeper=str(sweeper._target_), total=None, jobs=[])
    loader = GlobalHydra.instance().config_loader()
    written = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(
        [*written, *config.hydra.overrides.task]
    )
    jobs = [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
    return Plan(
        sweeper=str(sweeper._target_),
        total=len(jobs),
        jobs=[_planned_job(loader.load_sweep_config(config, job), job, n) for n, job in enumerate(jobs)],
    )


def _planned_job(composed: DictConfig, overrides: list[str], number: int) -> Job:
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    directory = job_directory(composed.hydra)
    config = parse(without_hydra(composed), trusted=True).to_dict()
    return Job(number=number, directory=directory, overrides=overrides, config=config)


def job_directory(hydra: Any) -> str:
    """The directory of a job, relative to its sweep's; raises ConfigError if it is not inside that."""
    try:
        return check_inside(str(hydra.sweep.subdir))
    except ValueError as error:
        raise ConfigError(f"hydra.sweep.subdir: {error}") from error


def without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
