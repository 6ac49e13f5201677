"""Hydra's and OmegaConf's errors, in one line of ours."""

import re
from collections.abc import Mapping
from traceback import walk_tb
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nasmeta.errors import ConfigError, NasmetaError, suggest


def explain(error: Exception) -> Exception:
    """The ConfigError that says what Hydra meant; an error that is not Hydra's comes back as it is."""
    if isinstance(error, ValueError) and "Config group override" in str(error):
        return ConfigError(f"{error}; every group needs an option (see `nasmeta list`)")
    if isinstance(error, NasmetaError):
        return error
    if not isinstance(error, HydraException | OmegaConfBaseException):
        stumbled = ConfigError(
            f"an override is none that Hydra understands ({type(error).__name__}: {error})"
        )
        return stumbled if _raised_by_hydra(error) else error
    text = str(error)
    if isinstance(error, OverrideParseException):
        return ConfigError(f"{error.override}: is no override: {text.splitlines()[0]}")
    if isinstance(error, MissingConfigException):
        return ConfigError(_missing_option(text))
    if match := re.search(r"Could not (?:override|append) '([^']+)'", text):
        return ConfigError(_unknown_key(match.group(1), str(error.__cause__ or "") + text))
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return ConfigError(f"{error.full_key}: {text.splitlines()[0]}")
    return ConfigError(" ".join(line.strip() for line in text.splitlines()[:2] if line.strip()))


def _raised_by_hydra(error: Exception) -> bool:
    """Whether the error left a function of Hydra: some overrides, as search_space=[null], make it stumble."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].startswith(("hydra.", "omegaconf."))


def _missing_option(text: str) -> str:
    """In 'search': Could not find 'meta_learner/mamll' / Available options in 'meta_learner': ..."""
    match = re.search(r"(?:Could not find|Could not load) '([^']+)'", text)
    if match is None:
        return text.splitlines()[0]
    group, _, option = match.group(1).rpartition("/")
    options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
    if (group, option) == ("hydra/sweeper", "optuna"):
        return "hydra/sweeper=optuna: Optuna's sweeper is not installed: pip install 'nasmeta[optuna]'"
    if not group:
        return f"{option}: no such configuration"
    return f"{group}={option}: no such option; {suggest(option, options)}"


def _unknown_key(key: str, text: str) -> str:
    valid = sorted(_default_keys())
    if key in valid:
        return f"{key}: {text.splitlines()[0]}"
    return f"{key}: no such key; {suggest(key, _comparable(key, valid))}"


def _comparable(key: str, valid: list[str]) -> list[str]:
    """The keys beside `key`, or all of them where there are none."""
    parent = key.rpartition(".")[0]
    beside = [name for name in valid if parent and name.startswith(f"{parent}.")]
    return beside or valid


def _default_keys() -> set[str]:
    """Every dotted key of the default configuration."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from nasmeta.conf_dir import config_directory

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("search")
    keys: set[str] = set()

    def collect(node: Mapping[Any, Any], prefix: str) -> None:
        for name, child in node.items():
            keys.add(f"{prefix}{name}")
            if isinstance(child, Mapping):
                collect(child, f"{prefix}{name}.")

    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    collect(plain, "")
    return keys
