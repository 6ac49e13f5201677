"""Reads summary.json. It may come from anybody, so its values are checked before they are used."""

import json
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nasmeta.errors import RunDirectoryError
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import command_line

FORMAT = 1
"""The newest format that is read; nasmeta.run.summary writes it."""

_STRICT = ConfigDict(strict=True, extra="ignore")
Count = Annotated[int, Field(ge=0, le=10**30)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1e15)]


class _Side(BaseModel):
    """The numbers of `best` or of `reference`."""

    model_config = _STRICT
    arch: str
    valid_accuracy: Share | None
    valid_ci95: float | None = None
    valid_loss: float | None = None
    test_accuracy: Share | None
    test_ci95: float | None
    test_loss: float | None = None
    test_tasks: Count | None
    params: Count | None
    flops: Count | None
    train_seconds: Seconds
    batch_norm: str | None
    reason: str | None = None


class _Difference(BaseModel):
    model_config = _STRICT
    mean: float
    ci95: float


class _Member(BaseModel):
    """A trial on the stored Pareto front."""

    model_config = _STRICT
    trial: Count
    arch: str
    valid_accuracy: Share | None
    valid_loss: float | None
    params: Count | None
    flops: Count | None
    latency_ms: float | None
    proxy: float | None = None
    checkpoint: str | None


class _Summary(BaseModel):
    model_config = _STRICT
    format: int
    command: str
    seed: Annotated[int, Field(ge=0)]
    device: str
    versions: dict[str, str]
    kind: Literal["classification", "regression"]
    task: dict[str, int] | None
    trained: bool = True
    trials: Count
    failed_trials: Count
    settings_changed: list[str] = []
    wall_seconds: Seconds
    simulated_seconds: Seconds | None = None
    best: _Side
    reference: _Side
    difference: _Difference | None = None
    pareto: list[_Member] | None = None

    @model_validator(mode="after")
    def _comparable(self) -> "_Summary":
        """Checks that both sides have the measure that the verdict compares, unless the reference failed."""
        regression = self.kind == "regression" or self.best.test_accuracy is None
        name = "test_loss" if regression else "test_accuracy"
        tested = self.reference.test_accuracy is not None or self.reference.test_loss is not None
        for side, needed in ((self.best, True), (self.reference, tested)):
            if needed and getattr(side, name) is None:
                raise ValueError(f"{name} is missing")
        return self


def read_summary(path: Path, checksum: int | None) -> dict[str, Any]:
    """Like `checked`, but raises RunDirectoryError, which says how to make the file again."""
    try:
        return checked(path, checksum)
    except OSError as error:
        raise _damaged(path, str(error.strerror)) from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def checked(path: Path, checksum: int | None) -> dict[str, Any]:
    """The checked content of summary.json. `checksum` is its CRC-32 by the journal, None if unknown.

    Raises OSError if it cannot be read, ValueError that names the key if it is damaged, RunDirectoryError if
    it has a newer format.
    """
    data = files.read_bytes(path, files.MAX_TABLE, inside=path.parent)
    if checksum is not None and zlib.crc32(data) != checksum:
        raise ValueError("its checksum is wrong")
    try:
        values = json.loads(data)
        version = values.get("format") if isinstance(values, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise RunDirectoryError(
                f"{path}: has format {version}, this nasmeta reads up to {FORMAT}: update it"
            )
        return _Summary.model_validate(values).model_dump()
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{key}: {problem['msg']}" if key else problem["msg"]) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _damaged(path: Path, reason: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{path}: damaged: {reason}; this makes it again from the journal: "
        + command_line("resume", path.parent)
    )
