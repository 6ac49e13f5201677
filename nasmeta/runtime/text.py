"""Makes text from outside (names of files, classes, architectures) safe for terminals and spreadsheets."""

import logging
import re
from collections.abc import Sequence

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: line ends, tabs, and the start of terminal commands
    "\u2028\u2029"  # line and paragraph separators
    "\u202a-\u202e\u2066-\u2069"  # these change the direction of the text around them
    "\ud800-\udfff]"  # surrogates: bytes of a file name that are not text
)
MAX_MESSAGE = 4000
"""How many characters of a message are shown. It begins with what is wrong and ends with what to do."""

_FORMULA = re.compile(r"(^|;)(?=[\s\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def printable(text: str) -> str:
    """`text` on one line, with every character escaped that could control a terminal."""
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], text)


def some(names: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """The first `most` of the names on one printable line, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(separator.join(names[:most])) + more


def message(text: str) -> str:
    """`text` as one printable line. If it has more than MAX_MESSAGE characters, its middle is left out."""
    if len(text) > MAX_MESSAGE:
        half = MAX_MESSAGE // 2
        text = f"{text[:half]} [{len(text) - 2 * half} characters left out] {text[-half:]}"
    return printable(text)


def csv_cell(value: object) -> object:
    """`value` for a CSV file, safe to open in a spreadsheet and to print on a terminal.

    An apostrophe is put before text that a spreadsheet would take for a formula. Such text begins with = + -
    @ or their full-width forms, perhaps after blanks, or has one after a semicolon, at which spreadsheets of
    some countries split a line. Unprintable characters are escaped as in `printable`. A value that is not
    text is returned unchanged. See "CSV Injection", https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return _FORMULA.sub(r"\1'", printable(value)) if isinstance(value, str) else value


def _argument(value: object) -> object:
    return value if isinstance(value, int | float) else printable(str(value))


class PrintableFormatter(logging.Formatter):
    """Formats a log record: no line can control a terminal or fill it, and no argument can begin one."""

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.args, tuple):
            record.args = tuple(_argument(value) for value in record.args)
        return "\n".join(map(message, super().format(record).expandtabs(4).split("\n")))
