"""What the lines of a journal say: one model for each event. It writes the event, checks it and replays it.

The checksums of a journal show damage, but not whether a run wrote it.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from nasmeta.datasets import contents
from nasmeta.errors import RunDirectoryError
from nasmeta.runtime.command_lines import SearchCommand
from nasmeta.runtime.validation import first_problem
from nasmeta.training.checkpoint import MAX_ARCH
from nasmeta.trial import Phase, Proposal, TrialResult

Number = Annotated[int, Field(ge=0)]
Architecture = Annotated[str, Field(max_length=MAX_ARCH)]
Seconds = Annotated[float, Field(ge=0, le=1e30)]

MAX_TIME = 250_000_000_000
"""Seconds from 1970 to the year 9892; calendars end soon after."""

SCORES = ("valid_loss", "valid_ci95", "train_loss", "proxy")
"""Numbers without a bound: a loss may diverge to any finite number, and a proxy has its own scale."""


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True)
    event: str
    elapsed: Seconds = 0.0
    """Seconds of wall time that the run has taken, summed over its sessions."""

    def values(self) -> dict[str, Any]:
        """What the line holds besides the event's name: the values that were given."""
        return self.model_dump(exclude={"event"}, exclude_unset=True)


Grown = Annotated[list[int | float | None], Field(min_length=2, max_length=2)]
"""A budget before and after it grew."""


def _check_trials(added: dict[str, Grown]) -> dict[str, Grown]:
    trials = added.get("budget.trials", [1, 1])
    if not all(isinstance(number, int) and 1 <= number <= 10**12 for number in trials):
        raise ValueError(f"budget.trials cannot grow as {trials!r:.80}")
    return added


def _check_data(values: Any) -> Any:
    if values is not None:
        contents.read(values)
    return values


class Started(_Line):
    """A session begins. `options` and `overrides` are the command's, as far as they are known.

    added: the budgets that grow from here on, by dotted key. The event is then "extended".
    """

    event: Literal["started", "resumed", "extended"]
    added: Annotated[dict[str, Grown], AfterValidator(_check_trials)] = {}
    at: Annotated[float | None, Field(ge=0, lt=MAX_TIME)] = None
    config: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    device: str | None = None
    execution: dict[str, Any] = {}
    threads: int | None = None
    data: Annotated[Any, AfterValidator(_check_data)] = None
    table: str | None = None
    options: list[str] = []
    overrides: list[str] = []
    replaces: int | None = None
    """The checksum of the configuration's file, which this start replaces."""


class Asked(_Line):
    """The strategy proposed a trial; for `continues` and `inherits` see Proposal."""

    event: Literal["asked"] = "asked"
    trial: Number
    arch: Architecture
    iterations: Annotated[int, Field(ge=1)]
    continues: Number | None = None
    inherits: Number | None = None

    @classmethod
    def of(cls, proposal: Proposal) -> "Asked":
        return cls(**{**vars(proposal), "arch": str(proposal.arch)})

    @property
    def start(self) -> int | None:
        """The trial whose weights it starts from, to continue or to inherit; None if there is none."""
        return self.inherits if self.continues is None else self.continues


_RESULT = TypeAdapter(TrialResult)


def _result(values: Any) -> TrialResult:
    try:
        result = _RESULT.validate_python(values)
    except ValidationError as error:  # one line instead of pydantic's several
        raise ValueError(first_problem(error)) from None
    for name, value in vars(result).items():
        if isinstance(value, int | float) and name not in SCORES and not -1e30 <= value <= 1e30:
            raise ValueError(f"{name} is {value!r:.40}")
    if len(result.arch) > MAX_ARCH:
        raise ValueError(f"arch has more than {MAX_ARCH} characters")
    if not math.isfinite(result.score or 0.0):
        raise ValueError("its score is not finite")
    return result


_OF_RESULT = frozenset(f.name for f in fields(TrialResult))


class Finished(_Line):
    """A trial ended. In a line, the result's values stand beside the others.

    hypervolume: that of the front with this trial. network, spans: see Training, for a full training.
    continues: the number of the full training, of the same phase, that it continued.
    """

    event: Literal["finished"] = "finished"
    phase: Phase
    result: Annotated[TrialResult, BeforeValidator(_result)]
    hypervolume: float | None = None
    network: Number = 0
    spans: list[Number] = []
    continues: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, line: Any) -> Any:
        if not isinstance(line, dict) or "result" in line:
            return line
        result = {name: line[name] for name in _OF_RESULT & line.keys()}
        return {name: value for name, value in line.items() if name not in _OF_RESULT} | {"result": result}

    @model_serializer(mode="wrap")
    def _spread(self, dump: Any) -> dict[str, Any]:
        values = dump(self)
        return {**values.pop("result"), **values}


class Retried(_Line):
    """Failed trials are tried again, by phase. They keep their numbers, but full trainings get new ones."""

    event: Literal["retried"] = "retried"
    trials: dict[Phase, list[Number]]


class WarmStarted(_Line):
    """The search begins with the trials of earlier runs; they have negative numbers."""

    event: Literal["warm_started"] = "warm_started"
    results: list[Annotated[TrialResult, BeforeValidator(_result)]]


class Measured(_Line):
    """The latency of an architecture, in milliseconds."""

    event: Literal["measured"] = "measured"
    arch: Architecture
    ms: Annotated[float, Field(ge=-1e30, le=1e30)]


class Uncountable(_Line):
    """The cost of an architecture cannot be counted."""

    event: Literal["uncountable"] = "uncountable"
    arch: Architecture
    reason: str


class Searched(_Line):
    """The search phase is over."""

    event: Literal["searched"] = "searched"


class Pruned(_Line):
    """The study of its sweep has ended the run early."""

    event: Literal["pruned"] = "pruned"


class Tested(_Line):
    """The chosen network is tested, and summary.json, with this `checksum`, is written."""

    event: Literal["tested"] = "tested"
    arch: Architecture
    checksum: int | None = None
    test_accuracy: float | None = None
    test_ci95: float | None = None
    test_loss: float | None = None
    test_tasks: int | None = None


JournalEvent = (
    Started | WarmStarted | Asked | Finished | Retried | Measured | Uncountable | Searched | Pruned | Tested
)
_EVENT: TypeAdapter[JournalEvent] = TypeAdapter(Annotated[JournalEvent, Field(discriminator="event")])


def parse(path: Path, lines: Sequence[dict[str, Any]]) -> list[JournalEvent]:
    """The events of the journal at `path`.

    Raises RunDirectoryError, which names file, line and key, if a line is not what a run writes.
    """
    events: list[JournalEvent] = []
    for number, record in enumerate(lines, 1):
        try:
            events.append(_EVENT.validate_python(record))
        except ValidationError as error:
            reason = first_problem(error)
            raise RunDirectoryError(
                f"{path}: line {number}: {reason}; a run never writes this: start a new one"
            ) from error
    return events


def command(events: Sequence[JournalEvent]) -> SearchCommand | None:
    """The command that makes the run with the settings of its last start; None if it was not recorded."""
    starts = [e for e in events if isinstance(e, Started) and "overrides" in e.model_fields_set]
    return SearchCommand(tuple(starts[-1].options), tuple(starts[-1].overrides)) if starts else None
