"""Reads the tokens of an architecture string; errors say which are valid."""

from collections.abc import Iterable

from nasmeta.errors import ArchitectureError, suggest

LONGEST_QUOTE = 60
"""The most characters of a wrong string that an error shows."""


def quote(text: str) -> str:
    """`text` for an error line: quoted, escaped, and shortened if it is long."""
    return repr(text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "...")


def name(what: str, text: str, valid: Iterable[str]) -> str:
    """Returns `text` if it is in `valid`. Raises ArchitectureError with `what` and the closest valid name."""
    options = list(valid)
    if text in options:
        return text
    hint = suggest(text[:LONGEST_QUOTE], filter(None, options))
    raise ArchitectureError(f"{what} {quote(text)} is not in the search space; {hint}")
