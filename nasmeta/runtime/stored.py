"""Checks of a configuration that a run directory, a sweep or a checkpoint has stored (docs/security.md).

Such a file may come from anybody. `plain` accepts only what JSON can hold, `Trust` says which values the user
typed, and `UsersOnly` marks the options that reach beyond the run.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nasmeta.errors import ConfigError

MAX_DEPTH = 16
"""How many mappings and lists may be inside each other; usual are 4."""

_INTERPOLATION = re.compile(r'("[^"]*": )?"[^"]*\$\{[^"]*"')


def plain(values: object, *, allow_nan: bool = False) -> dict[str, Any]:
    """A copy of a configuration as JSON gives it back: mappings, lists, text, numbers, booleans and null.

    No text in it has an interpolation (`${`), so nothing that reads the copy can resolve one. Raises
    ConfigError if `values` holds anything else, such as NaN or infinity unless `allow_nan`.
    """
    try:
        text = json.dumps(values, allow_nan=allow_nan)
        copy = json.loads(text)
        deep = _depth(copy) > MAX_DEPTH
    except (TypeError, ValueError) as error:
        raise ConfigError(f"configuration: {error}; it may hold only text and finite numbers") from error
    except RecursionError:
        deep = True
    if deep:
        raise ConfigError(f"configuration: has more than {MAX_DEPTH} levels of lists and mappings")
    if not isinstance(copy, dict):
        raise ConfigError(f"configuration: got a {type(copy).__name__}, expected keys and values")
    if "${" in text and (found := _INTERPOLATION.search(text)):
        raise ConfigError(
            f"configuration: {found[0]:.200} is an interpolation, which stored values may not have: "
            "type KEY=VALUE"
        )
    return copy


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


@dataclass(frozen=True)
class Trust:
    """Which values the user answers for: `everything`, or only the keys that were `typed`."""

    everything: bool
    typed: frozenset[str] = frozenset()

    def covers(self, key: str) -> bool:
        """Whether the user answers for the value at `key`: it, or something that contains it, was typed."""
        return self.everything or any(key == name or key.startswith(f"{name}.") for name in self.typed)


@dataclass(frozen=True)
class UsersOnly:
    """Marks, in a constructor's annotation, an option by which a run reaches beyond its own directory.

    A stored value is refused with `reason` unless `harmless(value)`. With `replace`, it is not refused: the
    object is built with the value `instead`. A value that the user typed is taken as it is.
    """

    reason: str
    harmless: Callable[[Any], bool]
    replace: bool = False
    instead: Any = None
