"""Checks of a configuration that a run directory, a sweep or a checkpoint has stored (docs/security.md).

Such a file may come from anybody. `plain` accepts only literal values, `Trust` says which of them the user
typed, and `UsersOnly` marks the options that reach beyond the run.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nasmeta.errors import ConfigError

MAX_VALUES = 10_000
"""How many values a configuration may have, counting those in lists and mappings; usual are about 100."""

MAX_DEPTH = 16
"""How many mappings and lists may be inside each other; usual are 4."""

MAX_TEXT = 1 << 16
"""How many characters a key or a value may have."""

MAX_INTEGER = (1 << 63) - 1
"""Largest absolute value of an integer; a seed has up to 63 bits."""


def plain(values: object) -> dict[str, Any]:
    """A copy of a configuration that holds only mappings, lists, text, finite numbers, booleans and null.

    No text in it has an interpolation (`${`), so nothing that reads the copy can resolve one. The time is
    linear in MAX_VALUES, even if lists of `values` are shared or contain themselves. Raises ConfigError,
    which names the key, if `values` holds anything else.
    """
    left = MAX_VALUES

    def copied(value: object, key: str, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            limit = f"{MAX_VALUES} values" if left < 0 else f"{MAX_DEPTH} levels"
            raise ConfigError(f"{key or 'configuration'}: has more than {limit}")
        if value is None or type(value) is bool:
            return value
        if type(value) is int and abs(value) <= MAX_INTEGER:
            return value
        if type(value) is float and abs(value) < float("inf"):  # NaN is not
            return value
        if type(value) is str:
            return _literal(value, key)
        if isinstance(value, list | tuple):
            return [copied(each, f"{key}[{n}]", depth + 1) for n, each in enumerate(value)]
        if isinstance(value, Mapping):
            return {
                _name(name, key): copied(each, f"{key}.{name}" if key else str(name), depth + 1)
                for name, each in value.items()
            }
        raise ConfigError(f"{key or 'configuration'}: got {_shown(value)}, should be plain text or a number")

    if not isinstance(values, Mapping):
        raise ConfigError(f"configuration: got {_shown(values)}, should be keys and their values")
    copy: dict[str, Any] = copied(values, "", 0)
    return copy


def loads(text: bytes) -> dict[str, Any]:
    """The configuration that a JSON text holds, checked by `plain`.

    Raises ConfigError as `plain` does, and ValueError if the text is not JSON.
    """
    try:
        return plain(json.loads(text))
    except RecursionError as error:
        raise ValueError(f"more than {MAX_DEPTH} levels") from error


def _name(name: object, key: str) -> str:
    if type(name) is not str:
        raise ConfigError(f"{key or 'configuration'}: has the key {_shown(name)}, should be text")
    return _literal(name, key)


def _literal(text: str, key: str) -> str:
    if len(text) > MAX_TEXT:
        raise ConfigError(f"{key or 'configuration'}: has {len(text)} characters, at most {MAX_TEXT}")
    if "${" in text:
        raise ConfigError(
            f"{key or 'configuration'}: got {_shown(text)}, an interpolation; stored values may have none: "
            f"type {key}=VALUE"
        )
    return text


def _shown(value: object) -> str:
    """A value for a message. Only the type is shown of a value that may be huge or contain itself."""
    if type(value) is str:
        return repr(value if len(value) <= 60 else value[:60] + "...")
    return repr(value) if type(value) is float else f"a {type(value).__name__}"


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
