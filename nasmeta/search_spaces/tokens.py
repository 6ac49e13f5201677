"""Reads the tokens of an architecture string; errors say which are valid."""

from collections.abc import Iterable, Sequence

from nasmeta.errors import ArchitectureError, suggest

LONGEST_QUOTE = 60


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


def width(what: str, text: str, widths: Sequence[int]) -> int:
    """The width that `text` spells, without leading zeros. Raises ArchitectureError with the nearest one."""
    by_text = {str(width): width for width in widths}
    if text in by_text:
        return by_text[text]
    # int() rejects texts of thousands of digits.
    if text.isdecimal() and len(text) < 10:
        nearest = min(widths, key=lambda width: abs(width - int(text)))
        raise ArchitectureError(f"{what} {quote(text)} is not in the search space; nearest: {nearest}")
    raise ArchitectureError(f"{what} {quote(text)} is not in the search space; valid: {', '.join(by_text)}")
