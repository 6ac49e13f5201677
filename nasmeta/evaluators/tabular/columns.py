"""Reads a CSV with typed columns; errors name the line."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from nasmeta.errors import ConfigError, suggest
from nasmeta.runtime import files

Parser = Callable[[str], Any]
"""Returns the value of a cell. Raises ValueError that says what the cell should be."""

MOST_SECONDS = 1e12
DIGITS = 18
"""The most digits of a number of parameters, operations or iterations."""

SHOWN = 3
"""The number of damaged lines that an error names."""


class Sheet:
    """A CSV with columns `names`, read row by row. Raises ConfigError if the file is not a CSV."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = self._lines()
        self.names = tuple(next(lines, (0, []))[1])
        if next(lines, None) is None:
            raise self.error("has no rows")

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Every line that is not empty, as (number, cells)."""
        try:
            content = files.opened(self.path, files.MAX_TABLE)
            with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True)
                yield from ((reader.line_num, cells) for cells in reader if cells)
        except OSError as error:
            raise self.error(error.strerror) from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise self.error(f"is not a CSV file: {error}") from error

    def error(self, what: object) -> ConfigError:
        return ConfigError(f"evaluator.table: {self.path}: {what}")

    def check(self, required: set[str], optional: set[str]) -> None:
        """Raises ConfigError if a column is missing, unknown, or there twice."""
        if missing := sorted(required - set(self.names)):
            raise self.error(f"has no column {missing[0]!r}; its header is {','.join(self.names)}")
        for name in self.names:
            if name not in required | optional:
                raise self.error(f"unknown column {name!r}; {suggest(name, required | optional)}")
            if self.names.count(name) > 1:
                raise self.error(f"has the column {name!r} twice")

    def rows(self, columns: Mapping[str, Parser]) -> Iterator[tuple[int, list[Any]]]:
        """Every row as (line number, values of `columns` in their order), in any column order of the file.

        Raises ConfigError that names the first damaged lines, after the last row.
        """
        places = [(self.names.index(name), parse) for name, parse in columns.items()]
        damaged = []
        for number, cells in islice(self._lines(), 1, None):
            try:
                values = [parse(cells[place]) for place, parse in places]
            except (ValueError, IndexError):
                values = []
            if values and len(cells) == len(self.names):
                yield number, values
            else:
                damaged.append(f"line {number}: {self._damage(cells, columns)}")
        if damaged:
            more = f"; and {len(damaged) - SHOWN} lines more" if len(damaged) > SHOWN else ""
            raise self.error("; ".join(damaged[:SHOWN]) + more)

    def _damage(self, cells: list[str], columns: Mapping[str, Parser]) -> str:
        if len(cells) != len(self.names):
            return f"{len(cells)} cells, should be {len(self.names)}"
        for name, parse in columns.items():
            try:
                parse(cells[self.names.index(name)])
            except ValueError as error:
                return f"{name}: {error}"
        raise AssertionError("nothing is wrong with it")


def text(cell: str) -> str:
    if not cell:
        raise ValueError("got nothing, should be a name")
    return cell


def percentage(cell: str) -> float:
    """A fraction, from a cell that is a percentage."""
    return _number(cell, 100.0, "a percentage from 0 to 100") / 100


def fraction(cell: str) -> float:
    return _number(cell, 1.0, "a fraction from 0 to 1")


def seconds(cell: str) -> float:
    return _number(cell, MOST_SECONDS, f"a number of seconds from 0 to {MOST_SECONDS:g}")


def count(cell: str) -> int:
    if not (cell.isascii() and cell.isdecimal() and len(cell) <= DIGITS):
        raise ValueError(f"got {cell!r:.40}, should be a whole number from 0, of {DIGITS} digits at most")
    return int(cell)


def or_unknown(parse: Parser) -> Parser:
    """Like `parse`, but None for an empty cell."""
    return lambda cell: parse(cell) if cell else None


def _number(cell: str, most: float, what: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (0 <= value <= most and math.isfinite(value)):
        raise ValueError(f"got {cell!r}, should be {what}")
    return value
