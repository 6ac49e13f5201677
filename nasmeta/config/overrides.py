"""Overrides of a stored configuration, in Hydra's syntax: `key=value` and `group=option`."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nasmeta.config import hydra_errors, hydra_setup
from nasmeta.config.arguments_of_hydra import in_quotes, prepared
from nasmeta.config.conf_dir import config_directory
from nasmeta.config.keys import SETTINGS, RunKeys
from nasmeta.config.schema import GROUPS, LOGGER, OPTION_GROUPS, Config, parse, resolved
from nasmeta.config.yaml_files import read_mapping, read_text
from nasmeta.errors import ConfigError, UntrustedError
from nasmeta.runtime.command_lines import key_of
from nasmeta.runtime.stored import plain


def reconfigured(
    values: DictConfig | Mapping[str, Any],
    overrides: list[str],
    *,
    trusted: bool,
    groups: Collection[str] = OPTION_GROUPS,
) -> Config:
    """A stored configuration with the overrides that the user typed, checked; raises ConfigError.

    Typed values may name the user's own code (see `parse`); stored values may only if they are trusted. Of
    the stored options only those of `groups` are checked and kept.
    """
    config = overridden(values, overrides)
    typed = {key_of(override) for override in overrides}
    wanted = [group for group in OPTION_GROUPS if group in {*groups, *(key.split(".")[0] for key in typed)}]
    return parse(config, trusted=trusted, typed=typed, groups=wanted)


def overridden(values: DictConfig | Mapping[str, Any], overrides: list[str]) -> DictConfig:
    """The configuration with the overrides applied. The result is not checked; `parse` does that.

    Only overrides can have interpolations; stored values have none (see `stored.plain`).
    """
    config = OmegaConf.create(plain(resolved(values) if isinstance(values, DictConfig) else values))
    try:
        for override in _parsed(overrides):
            key, value = override.key_or_group, override.value()
            if key == LOGGER or (key in GROUPS and isinstance(value, str)):
                value = composed([str(override.input_line)])[key]
            OmegaConf.update(config, override.package or key, value, merge=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise hydra_errors.explain(error) from error
    return config


def with_todays_keys(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration with the run-wide keys of today, so that an older checkpoint can be used.

    A key that it lacks gets the value of conf/search.yaml. A key that there is no longer is left out.
    """
    path = config_directory() / "search.yaml"
    default = read_mapping(path, read_text(path))
    keys = _with_keys_of({key: default[key] for key in RunKeys.model_fields}, stored)
    return keys | {group: stored[group] for group in GROUPS if group in stored}


def _with_keys_of(default: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: stored.get(key, value) for key, value in default.items()}
    inner = [
        key
        for key, value in default.items()
        if isinstance(value, Mapping) and isinstance(values[key], Mapping)
    ]
    return values | {key: _with_keys_of(default[key], values[key]) for key in inner}


def keys_of(overrides: list[str]) -> dict[str, str]:
    """The key that each override changes, by override. Raises ConfigError as `overridden` does."""
    try:
        return {str(o.input_line): str(o.package or o.key_or_group) for o in _parsed(overrides)}
    except HydraException as error:
        raise hydra_errors.explain(error) from error


def _parsed(overrides: list[str]) -> list[Override]:
    """The parsed overrides. Raises ConfigError for one that cannot change a stored configuration."""
    parsed = OverridesParser.create().parse_overrides(prepared(overrides))
    for override in parsed:
        if override.is_sweep_override() or override.is_delete() or override.key_or_group in SETTINGS:
            raise ConfigError(
                f"{override.input_line}: only key=value and group=option change a stored configuration"
            )
    return parsed


def composed(overrides: list[str], options: Sequence[str] = ()) -> DictConfig:
    """The configuration that `nasmeta search` would run with these overrides; raises ConfigError.

    options: further words of the command, each an option and its value, such as `--config-dir DIR`.
    """
    hydra_setup.install()
    given = dict(zip(options[::2], options[1::2], strict=True))
    place, name = given.get("--config-path", str(config_directory())), given.get("--config-name", "search")
    added = [f"hydra.searchpath=[{in_quotes(given['--config-dir'])}]"] if "--config-dir" in given else []
    try:
        with initialize_config_dir(place, version_base="1.3"):
            return compose(name, overrides=[*added, *prepared(overrides)])
    except Exception as error:
        raise hydra_errors.explain(error) from error


def recomposed(overrides: list[str], options: Sequence[str], *, trusted: bool) -> Config:
    """The configuration that stored overrides and options compose, checked.

    Unless they are `trusted`, they may only set keys of nasmeta, without interpolations, and choose its
    options by their names. Raises UntrustedError or ConfigError.
    """
    if not trusted:
        for override in OverridesParser.create().parse_overrides(overrides):
            key, value = override.key_or_group, override.value()
            plain({key: value})
            choice = key in (*OPTION_GROUPS, *SETTINGS)
            known = key.partition(".")[0] in (*RunKeys.model_fields, *GROUPS, *SETTINGS)
            if not known or override.package or (choice and not re.fullmatch(r"[\w-]+", str(value))):
                raise UntrustedError(f"{override.input_line}: {_STORED}")
        if options:
            raise UntrustedError(f"{' '.join(options)}: {_STORED}")
    return parse(composed(overrides, options), trusted=trusted)


_STORED = "is stored in the sweep, and is more than a setting: add --trust-code if the sweep is your own"
