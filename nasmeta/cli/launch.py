"""Between Hydra and a run: what must hold before Hydra makes a directory, in a callback of its."""

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
"""The files that Hydra writes into `.hydra`."""


class Refused(BaseException):
    """Carries an error through Hydra.

    Of an Exception in a callback Hydra only warns, and of one in a job it first prints all overrides.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class BeforeRun(Callback):
    """Hydra callback: wrong input leaves no directory, and no run is written over another.

    The default directory, named by the second, gets a suffix where it exists; one that the user named
    (hydra.run.dir or hydra.sweep.dir) is refused where it holds a run. The configurations of a
    sweep's jobs are all checked before the first; whether their parts fit, when their turn comes.
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
    """Raises DataError if all jobs have one dataset, and it is missing or damaged.

    What else is wrong with a job is said when its turn comes: it stops no other.
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
    """Makes the default directory, or refuses the user's; `kind` is run or sweep."""
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
        if kind == "sweep":  # the configurations of its jobs are composed anew, from overrides
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={in_quotes(str(directory))}")


def make_new(directory: Path) -> Path:
    """Makes `directory`, or the first of directory-1, directory-2, ... that does not exist; returns it."""
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
    """Raises RunDirectoryError where the directory is a file, or holds a run or a sweep.

    One that was killed while Hydra wrote its configuration, the first thing, is none.
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

    Hydra writes `.hydra` of a run and of each job, and files of a sweep whose names depend on the sweeper.
    """
    places = [directory]
    if kind == "sweep" and directory.is_dir():
        inside = sorted(directory.iterdir())
        files.check_plain(*inside)
        places += [path for path in inside if path.is_dir()]
    for place in places:
        files.check_plain(place / ".hydra", *(place / ".hydra" / name for name in HYDRA_WRITES))


def _again(directory: Path) -> str:
    """The command that goes on with the run or sweep in the directory, as far as it can be read."""
    from nasmeta.config.schema import needs_trust
    from nasmeta.run.directory import RunDirectory

    with suppress(RunDirectoryError):
        if (directory / MANIFEST).exists():
            return resume_command(Manifest(directory))
        trusted = needs_trust(RunDirectory(directory).load_config())
        return command_line("resume", directory, trusted=trusted)
    return command_line("resume", directory)


def command_of(hydra: Any) -> SearchCommand:
    """What makes the job of Hydra's configuration `hydra` again, as a run of its own."""
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
    """The defaults of a sweeper that learns (Optuna's), fitted to our jobs.

    Their result is to be maximized, a failed one does not stop the others, and the sampler has the run's
    seed: without one it would propose anew each time.
    """
    named = [str(override).partition("=")[0] for override in config.hydra.overrides.hydra]
    for key, value in {"direction": "maximize", "max_failure_rate": 1.0, "n_jobs": 1}.items():
        if key in config.hydra.sweeper and f"hydra.sweeper.{key}" not in named:
            config.hydra.sweeper[key] = value
    if OmegaConf.select(config, "hydra.sweeper.sampler.seed", default="") is None:
        config.hydra.sweeper.sampler.seed = config.seed


def _in_memory(config: DictConfig) -> None:
    """A study that is played again begins empty: a stored one would count what it has a second time."""
    if OmegaConf.select(config, "hydra.sweeper.storage") is not None:
        log.warning("%s keeps what it has; the study goes on in memory", config.hydra.sweeper.storage)
        config.hydra.sweeper.storage = None


class _Sweep:
    """The sweep that this process has begun or plays again, if it does: its manifest and its lock."""

    def __init__(self, arguments: list[str], manifest: Manifest | None) -> None:
        self.arguments, self.manifest = arguments, manifest
        self.replays = manifest is not None
        self.composition: Composition | None = None
        """What was built and loaded to check a job, for this job to begin with."""
        self.held = ExitStack()
        """The sweep's lock, from its beginning on."""

    def begin(self, directory: Path, plan: Plan) -> None:
        from nasmeta.run.directory import locked

        directory.mkdir(parents=True, exist_ok=True)
        self.held.enter_context(locked(directory / "sweep.lock", "sweep"))
        self.manifest = Manifest(directory)
        self.manifest.write(plan)

    def composed(self, config: "Config") -> "Composition":
        """The composition of a job that begins: the one that was checked, if it is the same."""
        from nasmeta.run.readiness import ready

        checked, self.composition = self.composition, None
        return checked if checked is not None and checked.config == config else ready(config)

    def check_all_done(self, cause: Exception | None = None) -> None:
        """Raises RunFailed that names the failed jobs, if any."""
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
    """Inside, the yielded object is the sweep that Hydra begins, if it begins one, or plays again."""
    global _current
    _current = _Sweep(arguments, played_again)
    with _current.held:
        yield _current


def hydra_job(manifest: Manifest, job: Job, run: Callable[[], float]) -> float | None:
    """A job that Hydra starts: what its sweeper is told. One that learns from jobs hears of failures.

    Of a sweep that is played again, what is done or failed is not run again. Raises Refused where the
    sweeper proposes another job than it did.
    """
    plan = manifest.read()
    earlier = next((j for j in plan.jobs if j.number == job.number), None)
    if plan.total is not None:
        with suppress(Exception):  # recorded and said; the others go on
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
    """All jobs of a sweep by Hydra's own sweeper, each composed and checked: a misspelt one ends it here.

    Other sweepers decide as they go. `config` is the sweep's own, with the overrides as they were written.
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
    """Where a job of a sweep is, relative to the sweep; raises ConfigError if that is elsewhere."""
    try:
        return check_inside(str(hydra.sweep.subdir))
    except ValueError as error:
        raise ConfigError(f"hydra.sweep.subdir: {error}") from error


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
