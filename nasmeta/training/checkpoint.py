"""Checkpoints: files of tensors and plain values, written atomically and read without running code.

A file is torch's own zip of tensors. Every member has a CRC-32, which torch writes and never checks. `load`
checks it, so that a flipped bit is an error and not another network. Work in progress is kept in two
generations, so that a damaged file costs only the minutes since the previous one.
"""

import io
import logging
import os
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from nasmeta import __version__
from nasmeta.errors import CheckpointError, ConfigError
from nasmeta.runtime import files
from nasmeta.runtime.stored import plain
from nasmeta.task import Kind, TaskSpec

log = logging.getLogger(__name__)

FORMAT = 2
"""The format of best.pt. It is raised if readers of the old format could not read the new one."""


MAX_ARCH = 10_000
"""The most characters in an architecture's string; the longest of a shipped space has a few hundred."""

MAX_SIZE = 1 << 16
"""The largest side of an image, number of features, and number of classes in an episode."""

MAX_CLASSES = 1 << 24

TIMES = 4
"""The most bytes that tensors may claim, in sizes of the file; tied weights share their numbers."""


def save(path: Path, payload: dict[str, Any], *, inside: Path | None = None) -> None:
    """Writes tensors and plain values atomically; `inside` is that of `nasmeta.runtime.files`."""
    files.write_atomically(path, _bytes(payload), inside=inside)


def _bytes(payload: dict[str, Any]) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(payload, buffer)
    return buffer.getvalue()


def load(path: Path, *, inside: Path | None = None) -> dict[str, Any]:
    """Reads what `save` wrote, onto the CPU, with torch's weights-only loader, which runs no code.

    Raises CheckpointError, which names the file, if it is missing, damaged, or no checkpoint.
    """
    import pickle

    import torch

    try:
        data = files.read_bytes(path, files.MAX_TENSORS, inside=inside)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        _verify(data)
        payload = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        _check_values(payload, len(data))
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused, it holds more than tensors and plain values") from error
    except Exception as error:  # damaged bytes can make the reader raise anything
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: damaged, or no checkpoint: {reason}") from error
    if not isinstance(payload, dict):
        raise CheckpointError(f"{path}: no nasmeta checkpoint: it holds a {type(payload).__name__}")
    return payload


def _verify(data: bytes) -> None:
    """Raises ValueError or BadZipFile if a member's checksum is wrong, or members would grow when read."""
    if not data:
        raise ValueError("it is empty")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its members are compressed, as torch never does")
        if sum(member.file_size for member in members) > len(data):
            raise ValueError("its members share their bytes, as torch never has them do")
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f"the checksum of {wrong} is wrong")


def _check_values(payload: object, size: int) -> None:
    """Raises ValueError unless all values are plain, or tensors that the file is large enough to hold.

    A view may claim any number of elements for one stored number, and a copy of it would not fit in memory.
    Every container is visited once, so that shared containers and cycles take no time.
    """
    import torch

    seen, waiting, claimed = set[int](), [payload], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
                raise ValueError(f"it has a tensor of {value.layout} on {value.device}")
            claimed += value.numel() * value.element_size()
            if claimed > TIMES * size:
                raise ValueError(f"its tensors claim more than {TIMES} times the bytes of the file")
        elif isinstance(value, dict | list | tuple):
            if id(value) in seen:
                continue
            seen.add(id(value))
            waiting += [*value.keys(), *value.values()] if isinstance(value, dict) else value
        elif value is not None and not isinstance(value, str | int | float):
            raise ValueError(f"it holds a {type(value).__name__}")


# Work in progress: RUN/checkpoints/NAME, where nothing may be a link -------------------------------------


def save_progress(path: Path, payload: dict[str, Any]) -> None:
    """Writes a checkpoint as `save` does, and keeps the previous one."""
    files.write_atomically(path, _bytes(payload), _previous(path), inside=_run(path))


def load_progress(path: Path, restore: Callable[[dict[str, Any]], None]) -> bool:
    """Calls restore(payload) with the newest checkpoint that is whole and fits; returns whether there is one.

    A file that is damaged or belongs to another network is skipped, with a warning that names it. `restore`
    may be called twice.
    """
    for file in (path, _previous(path)):
        if not os.path.lexists(file):
            continue
        try:
            fits(file, restore, load_weights(file))
        except CheckpointError as error:
            log.warning("%s; going on from an earlier one, or from the start of this training", error)
        else:
            return True
    return False


def save_weights(path: Path, payload: dict[str, Any]) -> None:
    """Writes what `load_weights` reads, and keeps no previous generation."""
    save(path, payload, inside=_run(path))


def load_weights(path: Path) -> dict[str, Any]:
    """Reads the newest generation only. Raises what `load` raises."""
    return load(path, inside=_run(path))


def is_whole(path: Path) -> bool:
    """Whether the newest generation exists and is undamaged; logs a warning if not."""
    try:
        load_weights(path)
    except CheckpointError as error:
        log.warning("%s", error)
        return False
    return True


def forget(path: Path) -> None:
    """Deletes a checkpoint of work in progress, and the previous one."""
    for file in (path, _previous(path)):
        files.remove(file, inside=_run(path))


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous")


def _run(path: Path) -> Path:
    return path.parent.parent


# best.pt ------------------------------------------------------------------------------------------------


def save_best(path: Path, contents: dict[str, Any], *, inside: Path | None = None) -> None:
    """Writes a best.pt; `load_best` says what it holds."""
    save(path, {"format": FORMAT, "nasmeta": __version__, **contents}, inside=inside)


def load_best(path: Path) -> dict[str, Any]:
    """Reads a best.pt, or the one inside a run directory.

    Keys: format, nasmeta (version), arch (canonical string), task (TaskSpec's fields), config (plain values,
    for `config.parse`), parameters and statistics (tensors by name), data (plain values, for
    `datasets.contents.read`), provisional (whether it is a candidate of a search, not trained in full),
    iterations (meta-iterations of its training), metrics. Everything except `data` is checked here, in time
    linear in the file's size. `fits` checks whether the tensors belong to the architecture. Raises
    CheckpointError.
    """
    path, inside = (path / "best.pt", path) if path.is_dir() else (path, None)
    payload = load(path, inside=inside)
    version = payload.get("format")
    if isinstance(version, int) and version < FORMAT:
        raise CheckpointError(
            f"{path}: has format {version}, this nasmeta {__version__} reads {FORMAT}: train it again "
            f"(it was written by {payload.get('nasmeta')})"
        )
    if not isinstance(version, int) or not payload.keys() >= _KEYS:
        missing = ", ".join(sorted(_KEYS - payload.keys())) or "format"
        raise CheckpointError(f"{path}: no nasmeta checkpoint: it lacks {missing}")
    if version > FORMAT:
        raise CheckpointError(
            f"{path}: has format {version}, this nasmeta {__version__} reads {FORMAT}: update nasmeta "
            f"(it was written by {payload.get('nasmeta')})"
        )
    try:
        return payload | dict(_best().model_validate(payload))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise CheckpointError(f"{path}: no nasmeta checkpoint: {key}: {problem['msg']}") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: its configuration is damaged: {error}") from error


class _Task(BaseModel):
    """A TaskSpec's fields, limited to sizes that a network can be built for."""

    model_config = ConfigDict(strict=True, extra="forbid")
    kind: Kind
    input_shape: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MAX_SIZE)], ...], Field(min_length=1, max_length=3)
    ]
    outputs: Annotated[int, Field(ge=1, le=MAX_SIZE)]
    train_classes: Annotated[int, Field(ge=0, le=MAX_CLASSES)]


@cache
def _best() -> type[BaseModel]:
    """The schema of what `load_best` returns; made on demand, so that torch is not imported early."""
    from torch import Tensor

    class Best(BaseModel):
        model_config = ConfigDict(strict=True, extra="ignore", arbitrary_types_allowed=True)
        arch: Annotated[str, Field(max_length=MAX_ARCH)]
        task: Annotated[dict[str, Any], BeforeValidator(lambda task: _Task.model_validate(task).model_dump())]
        config: Annotated[dict[str, Any], BeforeValidator(plain)]
        parameters: dict[str, Tensor]
        statistics: dict[str, Tensor]
        data: dict[str, Any]
        provisional: bool
        iterations: int
        metrics: Annotated[dict[str, Any], BeforeValidator(plain)]

    return Best


_KEYS = {"arch", "task", "config", "parameters", "statistics", "data", "provisional", "iterations", "metrics"}


def task_spec(payload: dict[str, Any]) -> TaskSpec:
    """The TaskSpec that a best.pt was meta-learned for."""
    return TaskSpec(**payload["task"])


def fits(path: Path, restore: Callable[[dict[str, Any]], Any], payload: dict[str, Any]) -> None:
    """Calls restore(payload); raises CheckpointError, which names the file, if it is for another network."""
    try:
        restore(payload)
    except (
        LookupError,
        ValueError,
        ArithmeticError,
        MemoryError,
        RuntimeError,
        TypeError,
        AttributeError,
    ) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(f"{path}: does not fit its own architecture: {reason}") from error
