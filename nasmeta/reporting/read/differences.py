"""The keys in which the configurations of runs differ."""

from collections.abc import Mapping, Sequence

from nasmeta.config.keys import has_effect
from nasmeta.config.shipped import GIVEN, closest

Value = str | int | float | bool
Settings = Mapping[str, Value]
"""A configuration's values by their dotted keys."""

OPTION = "._target_"


def differing_keys(settings: Sequence[Settings]) -> list[str]:
    """The keys whose values differ between runs, in the order of the configuration.

    If runs have different options of a group, also of the same class, its `_target_` differs. The keys inside
    of the options then count only if they differ between runs of the same option.
    """
    settings = [_with_option_names(each) for each in settings]
    keys = dict.fromkeys(key for values in settings for key in values)
    return [key for key in keys if has_effect(key) and _differs(key, settings)]


def _with_option_names(settings: Settings) -> Settings:
    """The settings with the names of the chosen options instead of their classes."""
    options = [key for key in settings if key.endswith(OPTION)]
    return {**settings, **{key: option_name(key.removesuffix(OPTION), settings) for key in options}}


def _differs(key: str, settings: Sequence[Settings]) -> bool:
    values: dict[tuple[Value | None, ...], set[str]] = {}
    for each in settings:
        values.setdefault(_options_around(key, each), set()).add(repr(each.get(key)))
    return any(len(found) > 1 for found in values.values())


def _options_around(key: str, settings: Settings) -> tuple[Value | None, ...]:
    """The names of the options that a key is inside of. An option's own is not inside of it."""
    parts = key.removesuffix(OPTION).split(".")
    return tuple(settings.get(".".join(parts[:end]) + OPTION) for end in range(1, len(parts)))


def shown(key: str, settings: Settings) -> tuple[str, str]:
    """A key and its value as a table shows them. An option is shown as its group and its name."""
    if key.endswith(OPTION):
        where = key.removesuffix(OPTION)
        return where, option_name(where, settings) or "-"
    return key, written(settings.get(key, "-"))


def option_name(where: str, settings: Settings) -> str:
    """The name of the option at a key, such as "meta_learner" or "strategy.inner"; "" if there is none.

    An option that nasmeta does not ship has the name of its class, and the strategy of `nasmeta train` is
    "training".
    """
    if settings.get(where + OPTION) == GIVEN:
        return "training"
    own = {key.removeprefix(f"{where}."): value for key, value in settings.items()}
    target = str(settings.get(where + OPTION, ""))
    return closest(where.partition(".")[0], own) or target.rpartition(".")[2]


def written(value: Value) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value == "None" else str(value)
