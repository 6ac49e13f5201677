"""Reading the tokens of an architecture string, with errors that say which are valid."""

from collections.abc import Iterable, Sequence

from nasmeta.errors import ArchitectureError, suggest

LONGEST_QUOTE = 60


def quote(text: str) -> str:
    """`text` for an error line: quoted, escaped, and cut where it is long."""
    return repr(text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "...")


def name(what: str, text: str, valid: Iterable[str]) -> str:
    """`text`, one of `valid`; raises ArchitectureError that starts with `what` and ends with the closest."""
    options = list(valid)
    if text in options:
        return text
    hint = suggest(text[:LONGEST_QUOTE], filter(None, options))
    raise ArchitectureError(f"{what} {quote(text)} is not in the search space; {hint}")


def width(what: str, text: str, widths: Sequence[int]) -> int:
    """The width that `text` spells exactly (no leading zero); raises ArchitectureError with the nearest."""
    by_text = {str(width): width for width in widths}
    if text in by_text:
        return by_text[text]
    # int() refuses texts of thousands of digits.
    if text.isdecimal() and len(text) < 10:
        nearest = min(widths, key=lambda width: abs(width - int(text)))
        raise ArchitectureError(f"{what} {quote(text)} is not in the search space; nearest: {nearest}")
    raise ArchitectureError(f"{what} {quote(text)} is not in the search space; valid: {', '.join(by_text)}")
