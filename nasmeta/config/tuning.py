"""The key `tune`: configuration keys that are searched together with the architecture."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nasmeta.config.schema import Config, check_option
from nasmeta.errors import ConfigError, suggest
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.joint import TunedArchitecture, joint
from nasmeta.search_spaces.settings import Range, Setting, Value, nested, printed

TUNABLE = ("meta_learner", "optimizer")
"""The groups whose keys say how a given network learns."""

OF_THE_TASKS = frozenset({"meta_learner.train_way"})
"""Keys of these groups that change the episodes, which are the same for all candidates."""


def tuned(config: Config) -> list[Setting]:
    """The settings that `tune` names, in its order; raises ConfigError, which names the key and the value."""
    return [_setting(config, key, values) for key, values in config.keys.tune.items()]


def searched_space(config: Config, space: SearchSpace[Any]) -> SearchSpace[Any]:
    """The space that is searched: `space`, or its architectures with the settings that `tune` names."""
    settings = tuned(config)
    return joint(space, settings) if settings else space


def having(config: Config, settings: Mapping[str, Value]) -> Config:
    """The configuration with these settings by dotted key; raises ConfigError if one of them is wrong."""
    groups = dict(config.groups)
    for group, values in nested(settings).items():
        groups[group] = check_option(group, {**groups[group], **values}, config.trust)
    return replace(config, groups=groups)


def with_own_settings(arch: Any, config: Config) -> tuple[Any, Config]:
    """The architecture without its settings, and the configuration that has them."""
    if not isinstance(arch, TunedArchitecture):
        return arch, config
    own = having(config, dict(arch.settings))
    return arch.arch, replace(own, keys=own.keys.model_copy(update={"tune": {}}))


def _setting(config: Config, key: str, values: Range | list[Value]) -> Setting:
    configured = _configured(config, key)
    number = isinstance(configured, int | float) and not isinstance(configured, bool)
    if isinstance(values, Range) and not number:
        raise ConfigError(
            f"tune.{key}: its value is {configured!r} and not a number; list its values: [A, B]"
        )
    if isinstance(values, Range):
        setting = Setting.of(key, values, configured)
        for end in (setting.levels[0], setting.levels[-1]):
            _checked(config, key, end)
        return setting
    return Setting.of(key, [_checked(config, key, value) for value in values], configured)


def _checked(config: Config, key: str, value: Value) -> Value:
    """The value as the key has it: 0 of a rate is 0.0. Raises ConfigError if the key cannot have it."""
    group, _, name = key.partition(".")
    try:
        found: Value = having(config, {key: value}).groups[group][name]
    except ConfigError as error:
        raise ConfigError(f"tune.{key}: cannot be {printed(value)}: {error}") from error
    return found


def _configured(config: Config, key: str) -> Any:
    """The configured value of a key that can be tuned. Raises ConfigError if it cannot."""
    known = {
        f"{group}.{name}": value
        for group in TUNABLE
        for name, value in config.groups[group].items()
        if name != "_target_" and not isinstance(value, Mapping)
    }
    free = [name for name in known if name not in OF_THE_TASKS]
    if key in OF_THE_TASKS & known.keys():
        raise ConfigError(f"tune.{key}: cannot be tuned: it changes the episodes, which all candidates share")
    if key not in known:
        raise ConfigError(f"tune.{key}: cannot be tuned; {suggest(key, free)}")
    return known[key]
