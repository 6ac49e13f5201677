"""Commands for a user to type. Every one that nasmeta prints is made here, and works as it is printed."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


def command_line(command: str, path: Path, *words: str, trusted: bool = False) -> str:
    """`nasmeta COMMAND PATH WORD...` for a shell, with `--trust-code` if it is `trusted`.

    See `config.needs_trust` for the stored configurations that are not read without.
    """
    place = str(path)
    place = f"./{place}" if place.startswith("-") else place  # not an option
    return typed(["nasmeta", command, place, *words, *(["--trust-code"] if trusted else [])])


def typed(words: Iterable[str]) -> str:
    """The words as one types them in a shell."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """A word for a shell; bash and zsh read one with unprintable characters or bytes from escapes."""
    if word.isprintable():
        return shlex.quote(word)
    plain = set(range(32, 127)) - set(b"'\\")
    return "$'" + "".join(chr(b) if b in plain else f"\\x{b:02x}" for b in os.fsencode(word)) + "'"


@dataclass(frozen=True)
class SearchCommand:
    """The `nasmeta search` that makes a run: options as `--config-dir`, and overrides in Hydra's syntax."""

    options: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()

    def changed(self, overrides: Sequence[str], groups: Sequence[str]) -> "SearchCommand":
        """With further overrides, which replace earlier ones of the same key, or of that group's option."""
        kept = list(self.overrides)
        for override in overrides:
            new = _key(override)

            def replaced(earlier: str, new: str = new) -> bool:
                return earlier == new or (new in groups and earlier.startswith(f"{new}."))

            kept = [*(o for o in kept if not replaced(_key(o))), override]
        return SearchCommand(self.options, tuple(kept))

    def __str__(self) -> str:
        return typed(["nasmeta", "search", *self.options, *self.overrides])


def _key(override: str) -> str:
    return re.sub(r"^(\+\+?|~)", "", override).partition("=")[0].strip()
