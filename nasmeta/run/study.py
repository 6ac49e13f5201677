"""A sweep whose jobs Optuna proposes: its study.

The study lives in memory and is never stored. What it asks for depends only on its settings, which include a
seed, and on what the jobs of earlier batches gave. The manifest has both. So a resumed sweep makes the study
again, asks it for the same jobs, and tells it what is known of them.
"""

import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from nasmeta.errors import ConfigError, RunDirectoryError, suggest
from nasmeta.run.manifest import Manifest, StudySettings, SweepJob
from nasmeta.runtime.command_lines import command_line
from nasmeta.runtime.validation import validated

log = logging.getLogger(__name__)


def imported() -> Any:
    """The package `optuna`, whose messages of no interest are off; raises ConfigError if it is missing."""
    try:
        optuna = import_module("optuna")
    except ImportError as error:
        raise ConfigError(
            "hydra/sweeper=optuna: Optuna is not installed: pip install 'nasmeta[optuna]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # some samplers warn at every trial
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def searched(overrides: Sequence[Override]) -> tuple[list[str], dict[str, str]]:
    """What all jobs share, as overrides, and Optuna's distribution of each key that is swept over, as JSON.

    Raises ConfigError if a sweep of Hydra's has no such distribution.
    """
    to_json = imported().distributions.distribution_to_json
    last = {override.get_key_element(): override for override in overrides}
    fixed = {key: o.get_value_element_as_str() for key, o in last.items() if not o.is_sweep_override()}
    return (
        [f"{key}={value}" for key, value in fixed.items()],
        {key: to_json(_distribution(o)) for key, o in last.items() if o.is_sweep_override()},
    )


def with_more_trials(
    study: StudySettings | None, overrides: Sequence[str], jobs: int
) -> tuple[StudySettings | None, list[str]]:
    """The study of a sweep that is resumed, with the n_trials of the overrides, and the other overrides.

    jobs: how many it has already; ConfigError if it is to have fewer.
    """
    key = "hydra.sweeper.n_trials="
    asked = [override.removeprefix(key) for override in overrides if override.startswith(key)]
    if study is None or not asked:
        return study, list(overrides)
    if not asked[-1].isdecimal() or int(asked[-1]) < jobs:
        raise ConfigError(f"{key}{asked[-1]}: should be a number, and at least {jobs}: that many jobs exist")
    changed = {**study.model_dump(), "n_trials": int(asked[-1])}
    rest = [override for override in overrides if not override.startswith(key)]
    return validated(StudySettings, changed, "hydra.sweeper."), rest


def _distribution(override: Override) -> Any:
    optuna, sweep = imported(), override.value()
    log_scale = "log" in getattr(sweep, "tags", ())
    try:
        if isinstance(sweep, IntervalSweep):
            low, high = sweep.start, sweep.end
            step: dict[str, Any] = {} if isinstance(low, float) else {"step": 1}
        elif isinstance(sweep, RangeSweep) and not sweep.shuffle:
            values = [float(v) if not isinstance(v, int) else v for v in sweep.range()]
            low, high = values[0], values[-1]
            step = {} if log_scale else {"step": sweep.step}
        else:
            return optuna.distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
        kind = "IntDistribution" if isinstance(low, int) else "FloatDistribution"
        return getattr(optuna.distributions, kind)(low, high, log=log_scale, **step)
    except (IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"{override.input_line}: nothing that Optuna can sweep over: {error}") from error


def _made(kind: str, value: Any, **wanted: Any) -> Any:
    """An object of optuna.samplers or optuna.pruners (`kind`).

    value: its name and arguments, as {name: NAME, ARGUMENT: VALUE}; an argument may be such an object too.
    wanted: further arguments, given if the object takes them. Raises ConfigError, which names what is wrong.
    """
    module, key = getattr(imported(), f"{kind}s"), f"hydra.sweeper.{kind}"
    if not (isinstance(value, dict) and isinstance(value.get("name"), str)):
        raise ConfigError(f"{key}: got {value!r}, should be a name, or {{name: NAME, ARGUMENT: VALUE}}")
    names = [name for name in module.__all__ if name.endswith(kind.title()) and not name.startswith("Base")]
    if value["name"] not in names:
        raise ConfigError(f"{key}: no {value['name']} in optuna.{kind}s; {suggest(value['name'], names)}")
    made = getattr(module, value["name"])
    given = {
        name: _made(kind, each) if isinstance(each, dict) and "name" in each else each
        for name, each in value.items()
        if name != "name"
    }
    takes = inspect.signature(made).parameters
    try:
        return made(**{name: each for name, each in wanted.items() if name in takes} | given)
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {value['name']}: {error}") from error


def empty_study(settings: StudySettings, sampler: Any) -> Any:
    """A study without trials. Its name decides which bracket of Hyperband a job is in."""
    directions = ["maximize" if name == "score" else "minimize" for name in settings.objectives]
    pruner = _made("pruner", settings.pruner)
    if len(directions) > 1 and settings.pruner["name"] != "NopPruner":
        raise ConfigError(f"hydra.sweeper.pruner: {settings.pruner['name']} is for one objective")
    if list(settings.objectives) != ["score"] and settings.pruner["name"] != "NopPruner":
        raise ConfigError(
            f"hydra.sweeper.pruner: {settings.pruner['name']} sees scores, and the objective is "
            f"{settings.objectives[0]}; use hydra.sweeper.objectives=[score]"
        )
    return imported().create_study(
        study_name="nasmeta", directions=directions, sampler=sampler, pruner=pruner
    )


class Study:
    """An Optuna study, which proposes the jobs of a sweep. Raises ConfigError if a setting is wrong."""

    def __init__(self, settings: StudySettings) -> None:
        optuna = imported()
        self.settings = settings
        self._space = {
            key: optuna.distributions.json_to_distribution(text) for key, text in settings.space.items()
        }
        self._own_constraints = hasattr(optuna.Trial, "set_constraint")  # since Optuna 5
        wanted: dict[str, Any] = {"seed": settings.seed}
        if settings.constraints and not self._own_constraints:
            wanted["constraints_func"] = lambda trial: trial.user_attrs["excess"]
        self._study = empty_study(settings, _made("sampler", settings.sampler, **wanted))
        self._study.stop = self._exhaust
        self._exhausted = False
        self._asked: list[Any] = []

    def _exhaust(self) -> None:
        """A sampler that has proposed every point calls this while it is told; Optuna's own would raise."""
        self._exhausted = True

    def batches(self, manifest: Manifest) -> Iterator[tuple[int, list[list[str]]]]:
        """Yields the number of the next job and the overrides of each job of its batch.

        When the caller comes back, the manifest tells how they ended. Raises RunDirectoryError if it lists a
        job with other overrides than those that are proposed now.
        """
        settings = self.settings
        while len(self._asked) < settings.n_trials and not self._exhausted:
            first = len(self._asked)
            batch = self.ask(min(settings.n_jobs, settings.n_trials - first))
            jobs = manifest.read().by_number()
            for number, overrides in enumerate(batch, first):
                if number in jobs and jobs[number].overrides != overrides:
                    raise RunDirectoryError(
                        f"{manifest.file}: job {number} was {' '.join(jobs[number].overrides)}, and Optuna "
                        f"{imported().__version__} now proposes {' '.join(overrides)}: its version has "
                        "changed; resume the jobs one by one: "
                        + command_line("resume", manifest.path / jobs[number].directory)
                    )
            yield first, batch
            jobs = manifest.read().by_number()
            for number in range(first, first + len(batch)):
                self._tell(jobs[number])

    def ask(self, count: int) -> list[list[str]]:
        """The overrides of the next `count` jobs. Raises ConfigError if the sampler cannot propose them."""
        try:
            trials = [self._study.ask(self._space) for _ in range(count)]
        except (ImportError, ValueError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ConfigError(f"hydra.sweeper.sampler: {reason[0]}; choose another sampler") from error
        self._asked += trials
        return [self._overrides(trial.params) for trial in trials]

    def extremes(self) -> Iterator[list[str]]:
        """Overrides with every choice, and both ends of every range, each at least once."""
        params = {key: _ends(each)[0] for key, each in self._space.items()}
        yield from (
            self._overrides({**params, key: end}) for key, each in self._space.items() for end in _ends(each)
        )

    def _overrides(self, params: dict[str, Any]) -> list[str]:
        return [*self.settings.fixed, *(f"{key}={params[key]}" for key in self._space)]

    def _tell(self, job: SweepJob) -> None:
        trial = self._asked[job.number]
        if len(self.settings.objectives) == 1:  # Optuna takes reports for one objective only
            for step, value in steps(job.scores):
                trial.report(value, step)
        limits = self.settings.constraints
        excess = [job.numbers.get(name, float("inf")) - limit for name, limit in limits.items()]
        trial.set_user_attr("excess", excess)
        if self._own_constraints and job.numbers:
            for name, value in zip(limits, excess, strict=True):
                trial.set_constraint(name, value)
        self._study.tell(trial, values_of(job, self.settings), state=state_of(job, self.settings))

    def log_best(self, manifest: Manifest) -> None:
        """Logs the best job, or those on the Pareto front of several objectives."""
        jobs = manifest.read().by_number()
        for trial in self._study.best_trials:
            numbers = ", ".join(
                f"{name} {jobs[trial.number].numbers[name]:g}" for name in self.settings.objectives
            )
            swept = " ".join(f"{key}={value}" for key, value in trial.params.items())
            log.info("best of the study: job %d (%s): %s", trial.number, numbers, swept)


def _ends(distribution: Any) -> Sequence[Any]:
    """The choices of a categorical distribution; of any other its lowest and its highest value."""
    choices = getattr(distribution, "choices", None)
    return (distribution.low, distribution.high) if choices is None else tuple(choices)


def steps(scores: Sequence[float | None]) -> list[tuple[int, float]]:
    """What a pruner is told: the best score after each trial, numbered from 0, as Optuna assumes."""
    return [(step, score) for step, score in enumerate(scores) if score is not None]


def values_of(job: SweepJob, settings: StudySettings) -> list[float] | None:
    """The job's objectives; None if it is not done, or lacks one."""
    known = job.status == "done" and all(name in job.numbers for name in settings.objectives)
    return [job.numbers[name] for name in settings.objectives] if known else None


def state_of(job: SweepJob, settings: StudySettings) -> Any:
    states = imported().trial.TrialState
    ended = states.PRUNED if job.status == "pruned" else states.FAIL
    return ended if values_of(job, settings) is None else states.COMPLETE
