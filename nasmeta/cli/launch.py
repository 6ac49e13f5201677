"""What happens between Hydra and a run: a Hydra callback with the checks before a directory is made."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from nasmeta.config import hydra_errors
from nasmeta.config.arguments_of_hydra import in_quotes
from nasmeta.config.conf_dir import config_directory
from nasmeta.errors import ConfigError, DataError, NasmetaError, RunDirectoryError, RunFailed
from nasmeta.run.manifest import MANIFEST, Job, Manifest, Plan, check_inside
from nasmeta.run.replay import resume_command
from nasmeta.run.sweep import check_all_done, run_job
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import SearchCommand, command_line

if TYPE_CHECKING:
    from nasmeta.config.schema import Config
    from nasmeta.run.composition import Composition

log = logging.getLogger(__name__)


HYDRA_WRITES = ("config.yaml", "hydra.yaml", "overrides.yaml")
"""The files that Hydra writes into the folder `.hydra`."""


class Refused(BaseException):
    """Carries an error through Hydra; `error` is the original.

    It does not derive from Exception. Hydra only warns of an Exception in a callback, and prints all
    overrides first if one is raised in a job.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class BeforeRun(Callback):
    """A Hydra callback that checks everything before a directory is made, and never overwrites a run.

    The default directory is named by the second; if it exists, the name gets a suffix. A directory that the
    user named (hydra.run.dir or hydra.sweep.dir) is refused if it holds a run. The configurations of all jobs
    of a sweep are checked before the first job. Whether a job's parts fit is checked when its turn comes.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        from nasmeta.config.schema import parse
        from nasmeta.run.readiness import ready

        try:
            _current.composition = ready(parse(_without_hydra(config), trusted=True))
            _claim(config, "run")
        except Exception as error:
            raise Refused(error) from error

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            _adapt(config)
            if _current.replays:
                _in_memory(config)
                return
            options = list(command_of(config.hydra).options)
            plan = planned(config).model_copy(update={"arguments": _current.arguments, "options": options})
            _check_data(plan)
            _claim(config, "sweep")
            _current.begin(Path(str(config.hydra.sweep.dir)), plan)
        except Exception as error:
            told = hydra_errors.explain(error)
            raise (Refused(told) if isinstance(told, NasmetaError) else told) from error


def _check_data(plan: Plan) -> None:
    """Raises DataError if all jobs have the same dataset and it is missing or damaged.

    Any other error of a job is reported when its turn comes, since it does not affect the other jobs.
    """
    from nasmeta.config.schema import parse
    from nasmeta.run.readiness import ready

    if plan.jobs and all(job.config["dataset"] == plan.jobs[0].config["dataset"] for job in plan.jobs):
        try:
            _current.composition = ready(parse(plan.jobs[0].config, trusted=True))
        except DataError:
            raise
        except NasmetaError:
            return


def _claim(config: DictConfig, kind: str) -> None:
    """Makes the default directory, or refuses the user's if it is in use; `kind` is "run" or "sweep"."""
    overrides = OmegaConf.select(config, "hydra.overrides.hydra") or []
    named = any(str(override).startswith(f"hydra.{kind}.dir=") for override in overrides)
    directory = Path(str(config.hydra[kind].dir)).expanduser()
    if named:
        refuse_run(directory)
        refuse_links(directory, kind)
    else:
        directory = make_new(directory)
    with open_dict(config):
        config.hydra[kind].dir = str(directory)
        if kind == "sweep":  # its jobs are composed anew, from overrides
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={in_quotes(str(directory))}")


def make_new(directory: Path) -> Path:
    """Makes and returns `directory`, or the first of directory-1, directory-2, ... that does not exist."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(10_000):
        candidate = directory if attempt == 0 else directory.with_name(f"{directory.name}-{attempt}")
        try:
            os.mkdir(candidate)
        except FileExistsError:
            continue
        return candidate
    raise RunDirectoryError(f"{directory}: ten thousand runs of this name exist already")


def refuse_run(directory: Path) -> None:
    """Raises RunDirectoryError if the directory is a file, or holds a run or a sweep.

    A run that was killed while Hydra still wrote its own files does not count: it has nothing to lose.
    """
    if os.path.lexists(directory) and not directory.is_dir():
        raise RunDirectoryError(f"{directory}: is no directory, and the run needs one")
    signs = ("config.json", "journal.jsonl", "multirun.yaml", MANIFEST)
    if any(os.path.lexists(directory / sign) for sign in signs):
        raise RunDirectoryError(
            f"{directory}: already holds a run; name another directory, or go on with: {_again(directory)}"
        )


def refuse_links(directory: Path, kind: str) -> None:
    """Raises UserError if there is a link in the directory through which Hydra would write elsewhere.

    Hydra writes a folder `.hydra` for a run and for each job. For a sweep it also writes files whose names
    depend on the sweeper.
    """
    places = [directory]
    if kind == "sweep" and directory.is_dir():
        inside = sorted(directory.iterdir())
        files.check_plain(*inside)
        places += [path for path in inside if path.is_dir()]
    for place in places:
        files.check_plain(place / ".hydra", *(place / ".hydra" / name for name in HYDRA_WRITES))


def _again(directory: Path) -> str:
    """The command that resumes the run or sweep in the directory, as far as that can be read."""
    from nasmeta.config.schema import needs_trust
    from nasmeta.run.directory import RunDirectory

    with suppress(RunDirectoryError):
        if (directory / MANIFEST).exists():
            return resume_command(Manifest(directory))
        trusted = needs_trust(RunDirectory(directory).load_config())
        return command_line("resume", directory, trusted=trusted)
    return command_line("resume", directory)


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
    named = [str(override).partition("=")[0] for override in config.hydra.overrides.hydra]
    for key, value in {"direction": "maximize", "max_failure_rate": 1.0, "n_jobs": 1}.items():
        if key in config.hydra.sweeper and f"hydra.sweeper.{key}" not in named:
            config.hydra.sweeper[key] = value
    if OmegaConf.select(config, "hydra.sweeper.sampler.seed", default="") is None:
        config.hydra.sweeper.sampler.seed = config.seed


def _in_memory(config: DictConfig) -> None:
    """Keeps a replayed study in memory. A stored study would count the jobs that it has a second time."""
    if OmegaConf.select(config, "hydra.sweeper.storage") is not None:
        log.warning("%s keeps what it has; the study goes on in memory", config.hydra.sweeper.storage)
        config.hydra.sweeper.storage = None


class _Sweep:
    """The sweep that this process begins or replays, if any, with its manifest and its lock.

    arguments: those of the command. manifest: that of a sweep to replay; None for a new sweep or a run.
    """

    def __init__(self, arguments: list[str], manifest: Manifest | None) -> None:
        self.arguments, self.manifest = arguments, manifest
        self.replays = manifest is not None
        self.composition: Composition | None = None
        """What was built and loaded to check a job; the job reuses it when it begins."""
        self.held = ExitStack()
        """Holds the sweep's lock once the sweep has begun."""

    def begin(self, directory: Path, plan: Plan) -> None:
        from nasmeta.run.directory import locked

        directory.mkdir(parents=True, exist_ok=True)
        self.held.enter_context(locked(directory / "sweep.lock", "sweep"))
        self.manifest = Manifest(directory)
        self.manifest.write(plan)

    def composed(self, config: "Config") -> "Composition":
        """The composition of a job that begins. The one that was checked is reused if it is the same."""
        from nasmeta.run.readiness import ready

        checked, self.composition = self.composition, None
        return checked if checked is not None and checked.config == config else ready(config)

    def check_all_done(self, cause: Exception | None = None) -> None:
        """Raises RunFailed, which names the failed jobs, if there are any."""
        if self.manifest is not None:
            try:
                check_all_done(self.manifest)
            except RunFailed as failed:
                raise failed from cause


_current = _Sweep([], None)


def composed(config: "Config") -> "Composition":
    """The composition of a job that Hydra starts, ready to run."""
    return _current.composed(config)


@contextmanager
def one_sweep(arguments: list[str], played_again: Manifest | None = None) -> Iterator[_Sweep]:
    """Yields the sweep that Hydra begins or replays inside the block, if it does.

    arguments: those of the command. played_again: the manifest of the sweep to replay, if there is one.
    """
    global _current
    _current = _Sweep(arguments, played_again)
    with _current.held:
        yield _current


def hydra_job(manifest: Manifest, job: Job, run: Callable[[], float]) -> float | None:
    """Runs a job that Hydra starts, and returns the result for its sweeper; None if the job failed.

    For a sweeper that learns from jobs, a failed job raises its error instead. In a replayed sweep, a job
    that is done or failed is not run again. Raises Refused if the sweeper proposes another job than before.
    """
    plan = manifest.read()
    earlier = next((j for j in plan.jobs if j.number == job.number), None)
    if plan.total is not None:
        with suppress(Exception):  # recorded and reported; the other jobs continue
            return run_job(manifest, job, run)
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
    if earlier is not None and earlier.status == "failed":
        raise RunFailed(f"job {job.number} failed: {earlier.reason}")
    return run_job(manifest, job, run)


def planned(config: DictConfig) -> Plan:
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
    from nasmeta.config.schema import parse

    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    directory = job_directory(composed.hydra)
    config = parse(_without_hydra(composed), trusted=True).to_dict()
    return Job(number=number, directory=directory, overrides=overrides, config=config)


def job_directory(hydra: Any) -> str:
    """The directory of a job, relative to its sweep's; raises ConfigError if it is not inside that."""
    try:
        return check_inside(str(hydra.sweep.subdir))
    except ValueError as error:
        raise ConfigError(f"hydra.sweep.subdir: {error}") from error


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
