"""The options that nasmeta ships, and which of them a group's values began as."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nasmeta.config.conf_dir import config_directory
from nasmeta.config.yaml_files import read_mapping, read_text

GIVEN = "nasmeta.strategies.given.Given"
"""The strategy of `nasmeta train`, which is no option and searches nothing."""


def closest(group: str, values: Mapping[str, Any]) -> str | None:
    """The name of the option of `group` that has the target of `values` and shares the most of them.

    Numbers count last: MAML with as many steps as ANIL is no ANIL. values: those of the group by key, with
    its `_target_`; lists and None may be text. Returns None if no option has that target.
    """
    target = str(values.get("_target_"))
    shared = {
        name: [_is_number(value) for key, value in option.items() if str(value) == str(values.get(key))]
        for name, option in _options(group).items()
        if option.get("_target_") == target
    }
    return max(shared, key=lambda name: (shared[name].count(False), len(shared[name])), default=None)


def option_of(group: str, part: object) -> str:
    """The option of `group` that an object is closest to in class and values; without one, its class."""
    made = type(part)
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(part).items()}
    for target in {option["_target_"] for option in _options(group).values()}:
        module, _, name = target.rpartition(".")
        if name == made.__name__ and made.__module__.startswith(module):
            return closest(group, {**values, "_target_": target}) or name
    return made.__name__


def having_key(group: str, key: str) -> list[str]:
    """The options of `group` that have a value of this name, as GROUP=OPTION; none for an unknown group."""
    return [f"{group}={name}" for name, option in _options(group).items() if key in option]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@cache
def _options(group: str) -> dict[str, dict[str, Any]]:
    """The values of each option of `group`, by its name, as they stand in its YAML file."""
    return {path.stem: _values(path) for path in sorted((config_directory() / group).glob("*.yaml"))}


def _values(path: Path) -> dict[str, Any]:
    """The values of an option's file over those of the option that it is based on."""
    values = read_mapping(path, read_text(path))
    bases = [name for name in values.pop("defaults", []) if isinstance(name, str) and name != "_self_"]
    inherited = (_values(path.with_name(f"{name}.yaml")) for name in bases)
    return {key: value for option in (*inherited, values) for key, value in option.items()}
