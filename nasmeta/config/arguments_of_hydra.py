"""Quotes paths in command lines for Hydra, so that a user need not.

Hydra's grammar gives `~`, `=`, `(`, `#`, quotes and commas a meaning of its own, and rejects letters outside
ASCII. So the value of a key that holds a path is quoted before Hydra sees it, unless Hydra has a meaning for
the whole value.
"""

import inspect
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import yaml  # type: ignore[import-untyped]
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from nasmeta.config.conf_dir import config_directory
from nasmeta.errors import NasmetaError
from nasmeta.runtime import files
from nasmeta.runtime.paths import HoldsPath

DIRECTORIES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Hydra's own keys that hold a path."""

_OVERRIDE = re.compile(r"(?P<prefix>\+{0,2})(?P<key>[\w.]+)=(?P<value>.*)", re.DOTALL)
_FUNCTION = re.compile(r"(choice|glob|interval|range|shuffle|sort|tag|extend_list)\s*\(.*\)", re.DOTALL)


def prepared(arguments: Sequence[str], config_dirs: Iterable[Path] = ()) -> list[str]:
    """The arguments, with the values of path keys quoted if Hydra would misread them.

    `config_dirs` are the user's own folders of options, in addition to the shipped one. In a sweep (-m), a
    comma separates values, and whatever Hydra can read keeps its meaning.
    """
    folders = (*config_dirs, *_config_dirs(arguments), config_directory())
    sweep = any(argument in ("-m", "--multirun", "hydra.mode=MULTIRUN") for argument in arguments)
    return [_prepared(argument, folders, sweep) for argument in arguments]


def quoted(override: str) -> str | None:
    """`override` as typed in a shell, with its value quoted for Hydra; None if quotes do not help."""
    match = _OVERRIDE.fullmatch(override)
    if (
        match is None
        or _read(better := f"{match['prefix']}{match['key']}={in_quotes(match['value'])}") is None
    ):
        return None
    return shlex.quote(better)


def _prepared(argument: str, folders: tuple[Path, ...], sweep: bool) -> str:
    if argument.startswith("--config-dir=~"):  # a shell does not expand this ~
        return f"--config-dir={_config_dirs([argument])[0]}"
    match = _OVERRIDE.fullmatch(argument)
    if match is None:
        return argument
    key, value, read = match["key"], match["value"], _read(argument)
    legal_sweep = sweep and ((read is not None and read.is_sweep_override()) or _FUNCTION.fullmatch(value))
    if legal_sweep or _is_text(read) or not _holds_path(key, folders):
        return argument
    paths = ",".join(_quoted_path(key, path) for path in (value.split(",") if sweep else [value]))
    return f"{match['prefix']}{key}={paths}"


def _quoted_path(key: str, path: str) -> str:
    """`path` quoted for Hydra, unless it is null, quoted already, or read as a text by Hydra anyway."""
    read = _read(f"{key}={path}")
    if read is not None and isinstance(read._value, QuotedString):
        text = read._value.text
        return in_quotes(os.path.expanduser(text)) if key in DIRECTORIES and text.startswith("~") else path
    if read is not None and (_is_text(read) or read._value is None):
        return path
    return in_quotes(os.path.expanduser(path) if key in DIRECTORIES else path)


def _is_text(read: Override | None) -> bool:
    return read is not None and isinstance(read._value, str)


def in_quotes(text: str) -> str:
    """`text` quoted so that Hydra reads it literally."""
    return QuotedString(text=text, quote=Quote.double).with_quotes()


def _read(override: str) -> Override | None:
    """The override as Hydra parses it; None if Hydra cannot parse it."""
    try:
        return OverridesParser.create().parse_overrides([override])[0]
    except (HydraException, ValueError):
        return None


def _config_dirs(arguments: Sequence[str]) -> list[Path]:
    """The folders that --config-dir names."""
    following = pairwise(arguments)
    named = [path for option, path in following if option in ("--config-dir", "-cd")]
    joined = [argument.split("=", 1)[1] for argument in arguments if argument.startswith("--config-dir=")]
    return [Path(path).expanduser() for path in (*named, *joined)]


@cache
def _holds_path(key: str, folders: tuple[Path, ...]) -> bool:
    """Whether some option of the key's group annotates the key as a path."""
    from nasmeta.config.schema import GROUPS, resolve

    group, *inner = key.split(".")
    if key in DIRECTORIES or group not in GROUPS or not inner:
        return key in DIRECTORIES
    for target in _targets(group, inner[-1], folders):
        try:
            found = resolve(group, target, trusted=True)
        except NasmetaError:  # reported when the configuration is checked
            continue
        constructor = found.__init__ if inspect.isclass(found) else found
        if _is_path(get_type_hints(constructor, include_extras=True).get(inner[-1])):
            return True
    return False


def _targets(group: str, key: str, folders: Iterable[Path]) -> set[str]:
    """The `_target_` names of the options of a group that have the key."""
    found: set[str] = set()
    for file in (file for folder in folders for file in (folder / group).rglob("*.yaml")):
        try:
            found |= set(_constructed(yaml.safe_load(files.read_bytes(file, files.MAX_TEXT)), key))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):  # reported when Hydra reads the file
            continue
    return found


def _constructed(node: Any, key: str) -> Iterable[str]:
    if isinstance(node, dict):
        if key in node and isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _constructed(value, key)


def _is_path(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return HoldsPath in annotation.__metadata__ or _is_path(get_args(annotation)[0])
    return origin in (Union, UnionType) and any(_is_path(member) for member in get_args(annotation))
