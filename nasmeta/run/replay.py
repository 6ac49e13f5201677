"""Checks the stored arguments of a sweep whose sweeper learns, before Hydra replays them.

The manifest may come from a stranger, and Hydra's arguments may name files, classes and commands. So each
argument is parsed by Hydra's own grammar. It passes only if it sets a key of every search to literal values,
or chooses an option that comes with nasmeta. Hydra composes nothing before all arguments have passed.
"""

import glob
import re
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    RangeSweep,
)
from hydra.errors import HydraException

from nasmeta.config.arguments_of_hydra import in_quotes
from nasmeta.config.conf_dir import config_directory
from nasmeta.config.keys import RunKeys
from nasmeta.config.schema import GROUPS, needs_trust
from nasmeta.errors import ConfigError, RunDirectoryError, UserError
from nasmeta.run.manifest import MANIFEST, Manifest, Plan, check_inside
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import command_line
from nasmeta.runtime.stored import plain

KEYS = {*RunKeys.model_fields, *GROUPS}
"""The first parts of a search's dotted keys."""

CHOICES = (*GROUPS, "experiment", "debug")
"""The groups of a search; their options are those under conf/."""

HYDRA_OPTIONS = {
    "hydra/sweeper": ("basic", "optuna"),
    "hydra/sweeper/sampler": ("cmaes", "grid", "motpe", "nsgaii", "random", "tpe"),
}
SWEEPER_KEYS = re.compile(r"hydra\.sweeper\.(n_trials|n_jobs|direction|max_failure_rate|study_name|storage)")
SAMPLER_KEYS = re.compile(r"hydra\.sweeper\.sampler\.[a-z]\w*")
PARAMS = "hydra.sweeper.params."

NUMBER = "${hydra.job.num}"
"""The only interpolation that a job's directory may have; it is a number."""

MAX_CHARACTERS = 10_000
"""How many characters all arguments may have together; Hydra parses so many in about two seconds."""

MAX_BRACKETS = 100
"""How many brackets an argument may have; Hydra's parser recurses for each."""


def resume_command(manifest: Manifest) -> str:
    """The command that resumes the sweep, with `--trust-code` if its jobs or its arguments need that."""
    plan = manifest.read()
    trusted = any(needs_trust(job.config) for job in plan.jobs)
    if plan.total is None and not trusted:
        try:
            replayed(plan, manifest.path, trusted=False)
        except UserError:
            trusted = True
    return command_line("resume", manifest.path, trusted=trusted)


def replayed(plan: Plan, directory: Path, *, trusted: bool) -> list[str]:
    """The arguments with which Hydra replays a sweep in its directory.

    Raises RunDirectoryError if an argument could do more than set up searches inside the directory, and
    UserError if a link in the directory leads out of it. Nothing is checked if it is `trusted`.
    """
    if "${" in str(directory):
        raise RunDirectoryError(f"{directory}: has ${{ in its name, which Hydra would resolve: rename it")
    if not trusted:
        if sum(map(len, plan.arguments)) > MAX_CHARACTERS:
            raise RunDirectoryError(
                f"{directory / MANIFEST}: arguments: has more than {MAX_CHARACTERS} characters; "
                "add --trust-code if the sweep is your own"
            )
        for argument in plan.arguments:
            try:
                _check(argument)
            except (ValueError, ConfigError, HydraException, RecursionError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise RunDirectoryError(
                    f"{directory / MANIFEST}: {argument[:200]!r} cannot be replayed: {reason}; "
                    "add --trust-code if the sweep is your own"
                ) from error
        _check_no_links(plan, directory)
    kept = [argument for argument in plan.arguments if not argument.startswith("hydra.sweep.dir=")]
    # Hydra would write copies of its configuration through links. config.json and the manifest suffice.
    return [*kept, f"hydra.sweep.dir={in_quotes(str(directory.absolute()))}", "hydra.output_subdir=null"]


def _check(argument: str) -> None:
    """Raises ValueError, ConfigError or an error of Hydra if an argument does not pass, with the reason."""
    if argument in ("-m", "--multirun"):
        return
    if sum(map(argument.count, "[{(")) > MAX_BRACKETS:
        raise ValueError(f"more than {MAX_BRACKETS} brackets")
    if argument.lstrip().startswith("-"):
        raise ValueError("an option of Hydra's command line")
    (override,) = OverridesParser.create().parse_overrides([argument])
    key, package = override.key_or_group, override.package
    if key == "hydra.sweep.subdir":
        check_inside(_literal(_only_text(override).replace(NUMBER, "0")))
        return
    values = [_literal(value) for value in _values(override)]
    if key in CHOICES:
        _check_options(values, {file.stem for file in config_directory().glob(f"{key}/*.yaml")})
        if package is not None and not (
            key == "strategy" and re.fullmatch(r"strategy(\.[a-z]\w*)+", package)
        ):
            raise ValueError(f"{package!r} is not a place for an option")
    elif package is not None:
        raise ValueError(f"{key!r} is not a group of options")
    elif key in HYDRA_OPTIONS:
        _check_options(values, set(HYDRA_OPTIONS[key]))
    elif key.startswith(PARAMS):
        for value in values:
            _check_parameter(f"{key.removeprefix(PARAMS)}={value}")
    elif SWEEPER_KEYS.fullmatch(key) or SAMPLER_KEYS.fullmatch(key):
        if any(isinstance(value, dict) for value in values):
            raise ValueError("not a plain value")
    elif key != "hydra.sweep.dir" and not _is_run_key(key):
        raise ValueError(f"{key!r} is not a key of a search")


def _check_parameter(argument: str) -> None:
    """Checks an argument that defines a part of Optuna's search space: it has to override a run's key."""
    if not _is_run_key(argument.partition("=")[0]):
        raise ValueError("a parameter that is not a key of a search")
    _check(argument)


def _is_run_key(key: str) -> bool:
    """Whether the key is one of a search, by its first part. Names that begin with _ never are."""
    names = key.split(".")
    return names[0] in KEYS and all(re.fullmatch(r"[a-zA-Z0-9]\w*", name) for name in names)


def _check_options(values: list[Any], options: set[str]) -> None:
    for value in values:
        if value is not None and not (isinstance(value, str) and value in options):
            raise ValueError(f"{value!r:.60} is not an option that comes with nasmeta")


def _values(override: Override) -> list[Any]:
    """The values that an override sets or sweeps over; for a range or an interval, its bounds."""
    swept = override._value
    if isinstance(swept, Glob):
        raise ValueError("glob() chooses by patterns")
    if isinstance(swept, ChoiceSweep):
        return [Override._convert_value(value) for value in swept.list]
    if isinstance(swept, RangeSweep):
        return [float(end) for end in (swept.start, swept.stop, swept.step) if end is not None]
    if isinstance(swept, IntervalSweep):
        return [swept.start, swept.end]
    return [] if override.is_delete() and swept is None else [override.value()]


def _literal(value: Any) -> Any:
    """Returns `value`. Raises ConfigError if it has an interpolation, ValueError if it names a target."""
    literal = plain({"value": value})["value"]
    waiting = [literal]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting.extend(each.values())
            if any(name.startswith("_") for name in each):
                raise ValueError("it names a class or how to make it")
        elif isinstance(each, list):
            waiting.extend(each)
    return literal


def _only_text(override: Override) -> str:
    value = override.value()
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _check_no_links(plan: Plan, directory: Path) -> None:
    """Raises UserError if a link is in the sweep's directory or on the way to a job's.

    Hydra and its sweepers would follow it when they write.
    """
    places = ["*"]
    for argument in plan.arguments:
        key, _, subdir = argument.partition("=")
        if key == "hydra.sweep.subdir":
            names = [glob.escape(part).replace(glob.escape(NUMBER), "*") for part in subdir.split("/")]
            places += ["/".join(names[: depth + 1]) for depth in range(len(names))]
    for place in places:
        files.check_plain(*directory.glob(place))
