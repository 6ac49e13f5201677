"""Quotes values in command lines for Hydra, so that a user need not.

Hydra's grammar gives `~`, `=`, `(`, `#`, quotes and commas a meaning of its own, and rejects letters outside
ASCII. So a value that Hydra cannot read is quoted before Hydra sees it, and is then taken as it is typed. The
value of a key in PATHS is quoted even if Hydra reads it as something else than text, such as a number.
"""

import os
import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

DIRECTORIES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Hydra's own keys that hold a path."""

PATHS = ("dataset.root", "dataset.cache", "dataset.split_files", "evaluator.table", *DIRECTORIES)
"""The keys that hold a path."""

_OVERRIDE = re.compile(r"(?P<start>\+{0,2}(?P<key>[\w.]+)=)(?P<value>.*)", re.DOTALL)
_FUNCTION = re.compile(r"(choice|glob|interval|range|shuffle|sort|tag|extend_list)\s*\(.*\)", re.DOTALL)


def prepared(arguments: Sequence[str]) -> list[str]:
    """The arguments, with values quoted that Hydra would misread.

    In a sweep (-m), a comma separates values, and whatever Hydra can read keeps its meaning.
    """
    sweep = any(argument in ("-m", "--multirun", "hydra.mode=MULTIRUN") for argument in arguments)
    return [_prepared(argument, sweep) for argument in arguments]


def _prepared(argument: str, sweep: bool) -> str:
    if argument.startswith("--config-dir=~"):  # a shell does not expand this ~
        return f"--config-dir={os.path.expanduser(argument.partition('=')[2])}"
    match = _OVERRIDE.fullmatch(argument)
    if match is None:
        return argument
    key, value, read = match["key"], match["value"], _read(argument)
    if sweep and ((read is not None and read.is_sweep_override()) or _FUNCTION.fullmatch(value)):
        return argument
    if _is_text(read) or (read is not None and key not in PATHS):
        return argument
    values = value.split(",") if sweep else [value]
    return match["start"] + ",".join(_quoted(key, each) for each in values)


def _quoted(key: str, value: str) -> str:
    """`value` quoted for Hydra, unless it is null, quoted already, or read as a text by Hydra anyway."""
    read = _read(f"{key}={value}")
    if read is not None and isinstance(read._value, QuotedString):
        text = read._value.text
        return in_quotes(os.path.expanduser(text)) if key in DIRECTORIES and text.startswith("~") else value
    if read is not None and (_is_text(read) or read._value is None):
        return value
    return in_quotes(os.path.expanduser(value) if key in DIRECTORIES else value)


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
