"""Checkpoints: files of tensors and plain values, written atomically and read without running code.

A file is torch's own zip of tensors. Every member has a CRC-32, which torch writes and never checks. `load`
checks it, so that a flipped bit is an error and not another network. Work in progress is kept in two
generations, so that a damaged file costs only the minutes since the previous one.
"""

import io
import logging
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nasmeta.errors import CheckpointError
from nasmeta.runtime import files

log = logging.getLogger(__name__)

MAX_ARCH = 10_000
"""The most characters in an architecture's string; the longest of a shipped space has a few hundred."""

MAX_VALUES = 1 << 20
"""The most values of a checkpoint, a tensor counted as one; usual are a few thousand."""

MAX_CLAIMED = 4
"""How many times the bytes of the file its tensors may claim; tied weights share their numbers."""


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
        raise CheckpointError(f"{path}: no such checkpoint; name a best.pt, or its run directory") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        _verify(data)
        payload = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        _check_values(payload, len(data))
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused: it holds more than tensors and plain values") from error
    except Exception as error:  # damaged bytes can make the reader raise anything
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: damaged, or not a checkpoint: {reason}") from error
    if not isinstance(payload, dict):
        raise CheckpointError(f"{path}: not a checkpoint of nasmeta: it holds a {type(payload).__name__}")
    return payload


def _verify(data: bytes) -> None:
    """Raises ValueError or BadZipFile if a member's checksum is wrong, or members would grow when read."""
    if not data:
        raise ValueError("it is empty")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its members are compressed, as torch never writes them")
        if sum(member.file_size for member in members) > len(data):
            raise ValueError("its members overlap, as torch never writes them")
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f"the checksum of {wrong} is wrong")


def _check_values(payload: object, size: int) -> None:
    """Raises ValueError unless all values are plain, or tensors that the file is large enough to hold.

    A view may claim any number of elements for one stored number, and a copy of it would not fit in memory.
    Values in shared containers are counted each time, since a copy of them would not fit in memory either.
    """
    import torch

    waiting, claimed, values = [payload], 0, 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
                raise ValueError(f"it has a tensor of {value.layout} on {value.device}")
            claimed += value.numel() * value.element_size()
            if claimed > MAX_CLAIMED * size:
                raise ValueError(f"its tensors claim more than {MAX_CLAIMED} times the bytes of the file")
        elif isinstance(value, dict | list | tuple):
            values += len(value)
            if values > MAX_VALUES:
                raise ValueError(f"it holds more than {MAX_VALUES} values, counting shared ones each time")
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
            payload = load_weights(file)
            with fitting(file):
                restore(payload)
        except CheckpointError as error:
            log.warning("%s; resuming from an earlier one, or from the start of this training", error)
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


def forget(path: Path, *, only_previous: bool = False) -> None:
    """Deletes a checkpoint of work in progress, and the previous one; or only that one."""
    for file in (_previous(path), *([] if only_previous else [path])):
        files.remove(file, inside=_run(path))


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous")


def _run(path: Path) -> Path:
    return path.parent.parent


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Turns errors of the block, which takes values from `path`, into a CheckpointError."""
    try:
        yield
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
