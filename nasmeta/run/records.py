"""Checks what the lines of a journal hold. Their checksums show damage, but not whether a run wrote them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from nasmeta.datasets import contents
from nasmeta.errors import RunDirectoryError
from nasmeta.run.journal import Journal, Record
from nasmeta.runtime.command_lines import SearchCommand
from nasmeta.training.checkpoint import MAX_ARCH
from nasmeta.trial import Phase, TrialResult

Number = Annotated[int, Field(ge=0)]
Architecture = Annotated[str, Field(max_length=MAX_ARCH)]

MAX_TIME = 250_000_000_000
"""Seconds from 1970 to the year 9892; calendars end soon after."""


@dataclass(frozen=True)
class Asked:
    """A trial that the strategy asked for: an architecture's canonical string and its meta-iterations.

    continues: the trial whose meta-training it continues; inherits: the trial whose weights it starts from.
    """

    trial: int
    arch: str
    iterations: int
    continues: int | None
    inherits: int | None

    @property
    def start(self) -> int | None:
        """The trial whose weights file it starts from, to continue or to inherit; None if there is none."""
        return self.inherits if self.continues is None else self.continues


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    elapsed: Annotated[float, Field(ge=0)] = 0.0


class _Asked(_Line):
    trial: Number
    arch: Architecture
    iterations: Annotated[int, Field(ge=1)]
    continues: Number | None = None
    inherits: Number | None = None


class _Finished(_Line):
    arch: Architecture
    phase: Phase


class _Measured(_Line):
    arch: Architecture
    ms: float


class _Uncountable(_Line):
    arch: Architecture
    reason: str


def _check_data(values: Any) -> Any:
    if values is not None:
        contents.read(values)
    return values


class _Started(_Line):
    at: Annotated[float | None, Field(ge=0, lt=MAX_TIME)] = None
    config: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    data: Annotated[Any, AfterValidator(_check_data)] = None
    options: list[str] = []
    overrides: list[str] = []


_LINES: dict[str, type[_Line]] = {
    "asked": _Asked,
    "finished": _Finished,
    "measured": _Measured,
    "uncountable": _Uncountable,
    "started": _Started,
    "resumed": _Started,
}
_RESULT = TypeAdapter(TrialResult)
_NAMES = tuple(f.name for f in fields(TrialResult))


def check(journal: Journal) -> None:
    """Raises RunDirectoryError, which names file, line and key, if a line is not what a run writes."""
    check_lines(journal.path, journal.records)


def check_lines(path: Path, lines: Sequence[Record]) -> None:
    """Like `check`, for the lines of a journal that is not open."""
    for number, record in enumerate(lines, 1):
        try:
            _LINES.get(record["event"], _Line).model_validate(record)
            if record["event"] == "finished" and not math.isfinite(result(record).score or 0.0):
                raise RunDirectoryError(f"{path}: line {number}: its score is not finite")
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise RunDirectoryError(
                f"{path}: line {number} ({record['event']}): {key}: {problem['msg']}; "
                "no run writes that; start a new run"
            ) from error


def result(record: Record) -> TrialResult:
    """The result of a "finished" record."""
    known = {name: record[name] for name in _NAMES if name in record}
    return _RESULT.validate_python(known)


def command(lines: Sequence[Record]) -> SearchCommand | None:
    """The command that makes the run with the settings of its last start; None if it was not recorded."""
    starts = [r for r in lines if r["event"] in ("started", "resumed") and "overrides" in r]
    return SearchCommand(tuple(starts[-1]["options"]), tuple(starts[-1]["overrides"])) if starts else None


def asked(record: Record) -> Asked:
    """What an "asked" record holds. Records of the first versions do not say where the trial starts."""
    starts = record.get("continues"), record.get("inherits")
    return Asked(record["trial"], record["arch"], record["iterations"], *starts)
