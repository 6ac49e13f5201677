"""Turns errors of Hydra and OmegaConf into one-line messages of nasmeta."""

import re
from traceback import walk_tb

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from nasmeta.config.shipped import having_key
from nasmeta.errors import ConfigError, NasmetaError, suggest

EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
}
"""Options of Hydra's plug-ins, each with the extra of nasmeta that installs it."""


def explain(error: Exception) -> Exception:
    """The ConfigError that says what Hydra's error means; an error that is not Hydra's is returned as is."""
    if isinstance(error, ValueError) and "Config group override" in str(error):
        return ConfigError(f"{error}; every group needs an option (see `nasmeta list`)")
    if isinstance(error, NasmetaError | BrokenPipeError):
        return error
    if not isinstance(error, HydraException | OmegaConfBaseException):
        stumbled = ConfigError(f"Hydra cannot read an override ({type(error).__name__}: {error})")
        return stumbled if _raised_by_hydra(error) else error
    text = str(error)
    if isinstance(error, OverrideParseException):
        return ConfigError(f"{error.override}: {_not_parsed(str(error.override))}")
    if isinstance(error, MissingConfigException):
        return ConfigError(_missing_option(text))
    if match := re.search(r"Could not (?:override|append) '([^']+)'", text):
        return ConfigError(_not_overridden(match.group(1), error.__cause__, text))
    if match := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", text):
        key, values = match.groups()
        return ConfigError(
            f"{key}={values}: several values; add -m (--multirun) for a run of each, or write a list: "
            f"{key}=[{values}]"
        )
    for cause in (error, error.__cause__):  # Hydra's own error about a wrong type says less
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return ConfigError(f"{cause.full_key}: {str(cause).splitlines()[0]}")
    return ConfigError(" ".join(line.strip() for line in text.splitlines()[:2] if line.strip()))


def _not_parsed(override: str) -> str:
    """What is wrong with an override that Hydra's grammar does not have."""
    if not re.match(r"[~+]{0,2}[\w./@:-]+=", override):
        return "not an override; write KEY=VALUE or GROUP=OPTION"
    return "Hydra cannot parse the value; write KEY=VALUE, or KEY=A,B in a sweep (-m)"


def _raised_by_hydra(error: Exception) -> bool:
    """Whether a function of Hydra raised the error; some overrides, such as search_space=[null], crash it."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].startswith(("hydra.", "omegaconf."))


def _missing_option(text: str) -> str:
    """The message for an option that Hydra did not find.

    Hydra's `text` is like: In 'search': Could not find 'meta_learner/mamll', Available options in
    'meta_learner': ... with one option a line.
    """
    match = re.search(r"(?:Could not find|Could not load) '([^']+)'", text)
    if match is None:
        return text.splitlines()[0]
    group, _, option = match.group(1).rpartition("/")
    options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
    if f"{group}={option}" in EXTRAS:
        extra = EXTRAS[f"{group}={option}"]
        return f"{group}={option}: is not installed: pip install 'nasmeta[{extra}]'"
    installable = [name.partition("=")[2] for name in EXTRAS if name.startswith(f"{group}=")]
    options += [name for name in installable if name not in options]
    if not group:
        return f"{option}: no such configuration"
    valid = suggest(option, options) if options else f"see `nasmeta list {group}`"
    return f"{group}={option}: no such option{_origin(text)}; {valid}"


def _origin(text: str) -> str:
    """The user's file that Hydra's message is about; empty if it is about the command line."""
    match = re.match(r"In '([^']+)'", text)
    if match is None or match[1] in ("search", "hydra/config"):
        return ""
    return f" (in the defaults list of {match[1]}.yaml)"


def _not_overridden(key: str, cause: BaseException | None, text: str) -> str:
    """Why `key` could not be set. For an unknown key, the nearest key of the chosen options is named."""
    if "No match in the defaults list" in text:
        from nasmeta.config.schema import OPTION_GROUPS

        group = key.partition("@")[0]
        remedy = f"write `override /{group}`" if group in OPTION_GROUPS else suggest(group, OPTION_GROUPS)
        return f"{group}: no such group{_origin(text)}; {remedy}"
    if not isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return f"{key}: {(str(cause or '') + text).splitlines()[0]}"
    unknown, beside = str(cause.full_key or key), cause.parent_node
    parent = unknown.rpartition(".")[0]
    names = [str(name) for name in beside] if isinstance(beside, DictConfig) else []
    known = [name for name in names if name not in ("_target_", "hydra")]
    if parent == "hydra.launcher" and not known:
        return f"{unknown}: the chosen launcher has no settings; choose one that has: {', '.join(EXTRAS)}"
    if unknown.partition(".")[0] == "tune" and (inner := key.removeprefix("tune.")) != key:
        from nasmeta.search_spaces.settings import Range

        of, _, end = inner.rpartition(".")
        if end in Range.model_fields:
            return f"{key}: write the whole range: 'tune={{{of}: {{low: 0.01, high: 1, log: true}}}}'"
        return (
            f"{key}: is not tuned yet; to add it, write +{key}=[0.01,0.1] or 'tune={{{inner}: [0.01, 0.1]}}'"
        )
    if owners := having_key(parent, unknown.rpartition(".")[2]):
        return f"{unknown}: the chosen option has no such key; these have it: {', '.join(owners)}"
    valid = [f"{parent}.{name}" if parent else name for name in known]
    return f"{unknown}: no such key; {suggest(unknown, valid)}"
