"""Checkpoints: files of tensors and plain values, written atomically and read without running code."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasmeta import __version__
from nasmeta.errors import CheckpointError
from nasmeta.task import TaskSpec

FORMAT = 1
"""The version of best.pt; raised when a reader of this one could not understand the next."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`: whoever reads, and whatever happens, finds the old file or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error


def _sync_directory(path: Path) -> None:
    """Makes a rename in the directory survive a crash, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def save(path: Path, payload: dict[str, Any]) -> None:
    """Writes tensors and plain values atomically."""
    import torch

    buffer = io.BytesIO()
    torch.save(payload, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Reads what `save` wrote, on the CPU, by torch's weights-only loader, which runs no code.

    Raises CheckpointError that names the file: missing, damaged, or no checkpoint at all.
    """
    import torch

    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: damaged, or no checkpoint: it is no archive of tensors")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused, it holds more than tensors and plain values") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: damaged, or no checkpoint: {reason}") from error
    if not isinstance(payload, dict):
        raise CheckpointError(f"{path}: no nasmeta checkpoint: it holds a {type(payload).__name__}")
    return payload


def save_best(path: Path, contents: dict[str, Any]) -> None:
    """Writes best.pt: see `load_best` for what it holds."""
    save(path, {"format": FORMAT, "nasmeta": __version__, **contents})


def load_best(path: Path) -> dict[str, Any]:
    """Reads a best.pt (or the one inside a run directory).

    Keys: format, nasmeta (version), arch (canonical string), task (TaskSpec's fields), config (plain
    values, for `config.parse`), parameters and statistics (tensors by name), metrics.
    """
    path = path / "best.pt" if path.is_dir() else path
    payload = load(path)
    version = payload.get("format")
    if not isinstance(version, int) or not payload.keys() >= _REQUIRED:
        missing = ", ".join(sorted(_REQUIRED - payload.keys())) or "format"
        raise CheckpointError(f"{path}: no nasmeta checkpoint: it lacks {missing}")
    if version > FORMAT:
        raise CheckpointError(
            f"{path}: has format {version}, this nasmeta {__version__} reads up to {FORMAT}: update nasmeta "
            f"(it was written by {payload.get('nasmeta')})"
        )
    return payload


_REQUIRED = {"format", "arch", "task", "config", "parameters", "statistics", "metrics"}


def task_spec(payload: dict[str, Any]) -> TaskSpec:
    """The TaskSpec a best.pt was meta-learned for."""
    task = payload["task"]
    return TaskSpec(task["kind"], tuple(task["input_shape"]), task["outputs"], task["train_classes"])


def fits(path: Path, restore: Callable[[dict[str, Any]], None], payload: dict[str, Any]) -> None:
    """Calls restore(payload); a payload for another network becomes a CheckpointError that names the file."""
    try:
        restore(payload)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: does not fit its own architecture: {error}") from error
