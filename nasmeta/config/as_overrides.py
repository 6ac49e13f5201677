"""A stored configuration as overrides, so that a new command can start from it."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf

from nasmeta.config.arguments_of_hydra import in_quotes
from nasmeta.config.overrides import composed
from nasmeta.config.schema import GROUPS, Config
from nasmeta.config.shipped import closest
from nasmeta.errors import ConfigError

MADE_ANEW = ("strategy", "evaluator", "logger")
"""The groups that say how to search and where to show it; a command that trains chooses others."""


def as_overrides(config: Config) -> list[str]:
    """The overrides of `nasmeta search` that compose `config`, without the groups of MADE_ANEW.

    Each group gets the shipped option that is closest to its values. Raises ConfigError if there is none.
    """
    stored = config.to_dict()
    groups = {group: config.used(group) for group in GROUPS if group not in MADE_ANEW}
    chosen = [f"{group}={_option(group, values)}" for group, values in groups.items()]
    before = dict(_leaves(_composed(chosen), ""))
    tune = stored.pop("tune")  # its keys have dots themselves
    kept = {key: value for key, value in {**stored, **groups}.items() if key not in MADE_ANEW}
    changed = [(key, value) for key, value in _leaves(kept, "") if key not in before or before[key] != value]
    changed += [("tune", tune)] if tune else []
    return [*chosen, *(f"{key}={literal(value)}" for key, value in changed)]


def _option(group: str, values: Mapping[str, Any]) -> str:
    """The shipped option that is closest to the values of a group; raises ConfigError if there is none."""
    option = closest(group, values)
    if option is None:
        raise ConfigError(
            f"{group}: {values['_target_']} is not an option that nasmeta has; train the architecture by its "
            f"string: nasmeta train ARCH {group}=NAME"
        )
    return option


def _composed(overrides: list[str]) -> dict[str, Any]:
    """The plain values that the overrides compose; a value that is still missing is "???"."""
    values: Any = OmegaConf.to_container(composed(overrides), resolve=True, throw_on_missing=False)
    return values  # type: ignore[no-any-return]


def _leaves(values: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def literal(value: Any) -> str:
    """A plain value as Hydra's grammar writes it."""
    if isinstance(value, str):
        return in_quotes(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}: {literal(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(literal, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)
