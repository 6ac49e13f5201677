"""Reads a CSV whose columns are the fields of a model; errors name the line and the column."""

import csv
import io
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nasmeta.errors import ConfigError
from nasmeta.runtime import files
from nasmeta.runtime.validation import validated

MOST_SECONDS = 1e12

Text = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Percentage = Annotated[float, Field(ge=0, le=100), AfterValidator(lambda value: value / 100)]
"""A cell that is a percentage, read as a fraction."""

Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS)]
Count = Annotated[int, Field(ge=0, lt=10**18)]


class Row(BaseModel):
    """One row of a table: its fields are the columns, and those with a default may be missing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    arch: Text

    @abstractmethod
    def subject(self) -> str:
        """What the row is of; no two rows of a table are of the same."""


R = TypeVar("R", bound=Row)


class Sheet:
    """A CSV with the columns `names`. Raises ConfigError if the file is not a CSV or has no rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = self._lines()
        self.names = next(lines, (0, []))[1]
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

    def rows(self, kind: type[R]) -> Iterator[R]:
        """Every row, whatever the order of the columns.

        Raises ConfigError that names the wrong column or the first bad line.
        """
        for name, field in kind.model_fields.items():
            if field.is_required() and name not in self.names:
                raise self.error(f"has no column {name!r}; its header is {','.join(self.names)}")
            if self.names.count(name) > 1:
                raise self.error(f"has the column {name!r} twice")
        lines: dict[str, int] = {}
        for line, cells in islice(self._lines(), 1, None):
            if len(cells) != len(self.names):
                raise self.error(f"line {line}: {len(cells)} cells, should be {len(self.names)}")
            values = dict(zip(self.names, cells, strict=True))
            row = validated(kind, values, f"evaluator.table: {self.path}: line {line}: ")
            if lines.setdefault(row.subject(), line) != line:
                raise self.error(f"lines {lines[row.subject()]} and {line} are both of {row.subject()}")
            yield row
