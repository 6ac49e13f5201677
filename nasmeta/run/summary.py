"""summary.json: one model that a run writes and everything reads.

The file may come from anybody, so its values are checked before they are used.
"""

import json
import platform
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nasmeta import __version__
from nasmeta.errors import RunDirectoryError
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import command_line
from nasmeta.runtime.validation import first_problem
from nasmeta.search_spaces.count import Bits
from nasmeta.task import Kind
from nasmeta.trial import TrialResult

FORMAT = 1
"""The format that is written, and the newest one that is read."""

Count = Annotated[int, Field(ge=0, le=10**30)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1e15)]

Chosen = Literal["searched", "given", "reference"]
"""What the chosen network is: found by the search, named by the user (`nasmeta train`), or the reference."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class Side(_Part):
    """The numbers of `best` or of `reference`: as a result of its full training, and of the meta-test.

    iterations: of meta-training, as configured. kept_iteration: the one that was kept, if it was chosen
    (budget.keep). ended_iteration: the last one then, which patience may have made an earlier one.
    test_loss: None for a table, or if it is not finite. reason: why there is no meta-test.
    """

    arch: str
    valid_accuracy: Share | None
    valid_ci95: float | None = None
    valid_loss: float | None = None
    params: Count | None
    flops: Count | None
    memory: Count | None = None
    flash: Count | None = None
    latency_ms: float | None = None
    train_seconds: Seconds
    iterations: Count | None = None
    kept_iteration: Count | None = None
    ended_iteration: Count | None = None
    reason: str | None = None
    test_accuracy: Share | None
    test_ci95: float | None
    test_loss: float | None = None
    test_tasks: Count | None
    batch_norm: str | None


class Difference(_Part):
    """Best minus reference over the same tasks: the mean and the half-width of its 95% interval."""

    mean: float
    ci95: float


class Calibrated(_Part):
    """How well the calibration of the chosen network fits, on the meta-test tasks.

    temperature: what its logits are divided by. error: the expected calibration error over `bins` bins.
    loss: the negative log-likelihood. raw_error, raw_loss: those without the temperature. false_rejects: the
    share of queries that are taken for unknown, of which the threshold aims at `rejects_aimed_at`.
    false_accepts: the share of queries of other classes that are not. Both are None if they are not known.
    """

    temperature: Annotated[float, Field(gt=0)]
    bins: Count
    error: Share
    raw_error: Share
    loss: float
    raw_loss: float
    rejects_aimed_at: Share
    false_rejects: Share | None
    false_accepts: Share | None


class Standing(_Part):
    """How an architecture did in the finals.

    iterations: of its longest training. networks: how many were trained so long, of which some `failed`.
    valid_accuracy, valid_loss: the means over the others. reason: why the first of them failed.
    """

    arch: str
    is_reference: bool
    iterations: Count
    networks: Count
    failed: Count
    valid_accuracy: Share | None
    valid_loss: float | None
    params: Count | None
    reason: str | None


class Member(_Part):
    """A trial on the Pareto front. checkpoint: its file in the run directory, if it has one."""

    trial: Count
    arch: str
    valid_accuracy: Share | None
    valid_loss: float | None
    proxy: float | None = None
    params: Count | None
    flops: Count | None
    memory: Count | None = None
    flash: Count | None = None
    latency_ms: float | None
    checkpoint: str | None


class Summary(_Part):
    """What a run has found. Accuracies are fractions.

    task, batch_norm: null if the run `trained` no network, since a table's numbers do not depend on them.
    execution: the kernels and the precision that were in use on the device.
    bits: the width of the numbers that memory and flash, in bytes, are counted for.
    settings_changed: what `resume --force` changed; the results then mix two settings. simulated_seconds:
    the seconds that the trials would have taken, if times are simulated. best: the chosen network.
    calibration: that of the best; None if the run trained no network, and for regression.
    difference: None if that is the reference. pareto: the front, if the strategy has several objectives.
    """

    format: int
    command: str
    seed: Annotated[int, Field(ge=0)]
    device: str
    execution: dict[str, str] = {}
    bits: Bits | None = None
    versions: dict[str, str]
    kind: Kind
    task: dict[str, int] | None
    trained: bool = True
    trials: Count
    failed_trials: Count
    settings_changed: list[str] = []
    wall_seconds: Seconds
    simulated_seconds: Seconds | None = None
    chosen: Chosen = "searched"
    best: Side
    reference: Side
    calibration: Calibrated | None = None
    difference: Difference | None = None
    finalists: list[Standing] = []
    pareto: list[Member] | None = None

    @model_validator(mode="after")
    def _comparable(self) -> "Summary":
        """Checks that both sides have the measure that the verdict compares, unless the reference failed."""
        regression = self.kind == "regression" or self.best.test_accuracy is None
        name = "test_loss" if regression else "test_accuracy"
        tested = self.reference.test_accuracy is not None or self.reference.test_loss is not None
        for side, needed in ((self.best, True), (self.reference, tested)):
            if needed and getattr(side, name) is None:
                raise ValueError(f"{name} is missing")
        return self

    def write(self, path: Path) -> int:
        """Writes the file, and returns its CRC-32."""
        text = json.dumps(self.model_dump(), indent=2).encode() + b"\n"
        files.write_atomically(path, text, inside=path.parent)
        return zlib.crc32(text)

    @classmethod
    def read(cls, path: Path, checksum: int | None) -> "Summary":
        """The checked content of the file. `checksum` is its CRC-32 by the journal, None if unknown.

        Raises OSError if it cannot be read, ValueError that names the key if it is damaged, and
        RunDirectoryError if it has a newer format.
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
            return cls.model_validate(values)
        except ValidationError as error:
            raise ValueError(first_problem(error)) from error
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


def read_summary(path: Path, checksum: int | None) -> dict[str, Any]:
    """Like Summary.read, but raises RunDirectoryError, which says how to make a damaged file again."""
    try:
        return Summary.read(path, checksum).model_dump()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        again = command_line("resume", path.parent)
        raise RunDirectoryError(
            f"{path}: damaged: {reason}; this makes it again from the journal: {again}"
        ) from error


def versions() -> dict[str, str]:
    """The versions of the software that a result depends on."""
    import numpy
    import torch

    return {
        "nasmeta": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def metrics(result: TrialResult, model: type[BaseModel] = Side) -> dict[str, Any]:
    """What a checkpoint and the summary hold of a result: the fields that it shares with the `model`."""
    return {name: value for name, value in vars(result).items() if name in model.model_fields}
