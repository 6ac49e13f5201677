"""Text from outside (names of files, classes, architectures), made safe for a terminal and a spreadsheet."""

import logging
import re

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: line ends, tabs, and what begins a terminal's commands
    "\u2028\u2029"  # line and paragraph separators
    "\u202a-\u202e\u2066-\u2069"  # what turns the direction of the text around it
    "\ud800-\udfff]"  # surrogates: bytes of a file's name that are no text
)
_FORMULA = re.compile(r"(^|;)(?=[\s\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def printable(text: str) -> str:
    """`text` on one line, with every character escaped that would steer a terminal."""
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], text)


def csv_cell(value: object) -> object:
    """`value` for a CSV file: no text makes a spreadsheet compute something, or a terminal obey.

    An apostrophe is put before what a spreadsheet would take for a formula: = + - @, their full-width forms,
    and any of them after blanks, or after a semicolon, at which some countries' spreadsheets cut a line.
    Unprintable characters are escaped, as `printable` does. What is no text stays as it is. See "CSV
    Injection", https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return _FORMULA.sub(r"\1'", printable(value)) if isinstance(value, str) else value


class PrintableFormatter(logging.Formatter):
    """Formats a log record so that none of its lines can steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))
