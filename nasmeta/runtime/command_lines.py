"""Commands for a user to type. Every command that nasmeta prints is built here and works as printed."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


def command_line(command: str, path: Path, *words: str, trusted: bool = False) -> str:
    """`nasmeta COMMAND PATH WORD...` quoted for a shell, with `--trust-code` if `trusted`.

    `config.schema.needs_trust` tells which stored configurations are refused without that option.
    """
    place = str(path)
    place = f"./{place}" if place.startswith("-") else place  # not an option
    return typed(["nasmeta", command, place, *words, *(["--trust-code"] if trusted else [])])


def typed(words: Iterable[str]) -> str:
    """The words as a user types them in a shell, quoted if necessary."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """The word quoted for a shell; unprintable characters become escapes, which bash and zsh read."""
    if word.isprintable():
        return shlex.quote(word)
    plain = set(range(32, 127)) - set(b"'\\")
    return "$'" + "".join(chr(b) if b in plain else f"\\x{b:02x}" for b in os.fsencode(word)) + "'"


@dataclass(frozen=True)
class SearchCommand:
    """The `nasmeta search` command that makes a run.

    options: words such as `--config-dir DIR`; overrides: in Hydra's syntax.
    """

    options: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()

    def changed(self, overrides: Sequence[str], groups: Sequence[str]) -> "SearchCommand":
        """The command with further overrides.

        A further override replaces the earlier ones of the same key. If it chooses the option of one of the
        `groups`, it also replaces the earlier ones of keys in that group.
        """
        kept = list(self.overrides)
        for override in overrides:
            new = key_of(override)

            def replaced(earlier: str, new: str = new) -> bool:
                return earlier == new or (new in groups and earlier.startswith(f"{new}."))

            kept = [*(o for o in kept if not replaced(key_of(o))), override]
        return SearchCommand(self.options, tuple(kept))

    def __str__(self) -> str:
        return typed(["nasmeta", "search", *self.options, *self.overrides])


def key_of(override: str) -> str:
    """The key that an override sets or removes, without `+`, `++` or `~`."""
    return re.sub(r"^(\+\+?|~)", "", override).partition("=")[0].strip()


def values_of(overrides: Iterable[str]) -> dict[str, str]:
    """The values that overrides set, by key, as they are typed."""
    return {key_of(override): override.partition("=")[2] for override in overrides}
