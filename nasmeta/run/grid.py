"""More jobs for a sweep: further values of what its jobs differ in, such as seeds."""

from collections.abc import Callable
from itertools import count, product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from nasmeta.config import hydra_errors
from nasmeta.config.arguments_of_hydra import prepared
from nasmeta.errors import ConfigError
from nasmeta.run.manifest import SweepJob, SweepPlan


def more_jobs(
    plan: SweepPlan, overrides: list[str], config_of: Callable[[list[str]], dict[str, Any]]
) -> tuple[list[SweepJob], list[str]]:
    """The jobs that a grid lacks once `overrides` add values to it, and the overrides that add none.

    A sweep's jobs are a grid over the keys in which they differ, and may always differ in the seed.
    config_of: composes the configuration of a job from its overrides. Raises ConfigError for several values
    of a key that the sweep does not vary.
    """
    points = [_values(job) for job in plan.jobs]
    keys = list(dict.fromkeys(key for point in points for key in point))
    varied = [key for key in keys if key == "seed" or len({point.get(key) for point in points}) > 1]
    axes = {key: dict.fromkeys(point[key] for point in points) for key in varied}
    others = []
    for override in overrides:
        key, values, several = _parsed(override)
        if key in axes:
            axes[key] |= dict.fromkeys(values)
        elif several:
            raise ConfigError(f"{override}: this sweep does not vary {key}; it varies {', '.join(varied)}")
        else:
            others.append(override)
    known = [tuple(point[key] for key in axes) for point in points]
    number = max((job.number for job in plan.jobs), default=-1)
    taken = {job.directory for job in plan.jobs}
    free = (str(name) for name in count(number + 1) if str(name) not in taken)
    jobs = []
    for point in product(*axes.values()):
        if point not in known:
            number += 1
            written = points[0] | dict(zip(axes, point, strict=True))
            words = [f"{key}={value}" for key, value in written.items()]
            jobs.append(
                SweepJob(number=number, directory=next(free), overrides=words, config=config_of(words))
            )
    return jobs, others


def _values(job: SweepJob) -> dict[str, str]:
    """What each key of a job is set to, as it is written; the seed too if it is not overridden."""
    written = dict(override.split("=", 1) for override in job.overrides if "=" in override)
    return written if "seed" in written else {**written, "seed": str(job.config["seed"])}


def _parsed(override: str) -> tuple[str, list[str], bool]:
    """Its key, its values, and whether they are written as several."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides(prepared(["-m", override])[1:])
    except HydraException as error:
        raise hydra_errors.explain(error) from error
    if parsed.is_sweep_override():
        return parsed.key_or_group, list(parsed.sweep_string_iterator()), True
    return parsed.key_or_group, [str(parsed.get_value_element_as_str())], False
