"""Checkpoints: files of tensors and plain values, written atomically and read without running code.

A file is torch's own zip of tensors. Every member has a CRC-32, which torch writes and does not look at:
`load` does, so that a flipped bit is an error and not another network. Work in progress is kept in two
generations, so that a damaged file costs the minutes since the one before.
"""

import io
import logging
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nasmeta import __version__
from nasmeta.errors import CheckpointError
from nasmeta.runtime import files
from nasmeta.task import TaskSpec

log = logging.getLogger(__name__)

FORMAT = 2
"""The version of best.pt; raised when a reader of this one could not understand the next."""


def save(path: Path, payload: dict[str, Any], *, inside: Path | None = None) -> None:
    """Writes tensors and plain values atomically; `inside` as in `nasmeta.runtime.files`."""
    files.write_atomically(path, _bytes(payload), inside=inside)


def _bytes(payload: dict[str, Any]) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(payload, buffer)
    return buffer.getvalue()


def load(path: Path, *, inside: Path | None = None) -> dict[str, Any]:
    """Reads what `save` wrote, on the CPU, by torch's weights-only loader, which runs no code.

    Raises CheckpointError that names the file: missing, damaged, or no checkpoint at all.
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
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused, it holds more than tensors and plain values") from error
    except Exception as error:  # damaged bytes lead the reader anywhere
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: damaged, or no checkpoint: {reason}") from error
    if not isinstance(payload, dict):
        raise CheckpointError(f"{path}: no nasmeta checkpoint: it holds a {type(payload).__name__}")
    return payload


def _verify(data: bytes) -> None:
    """Raises ValueError or BadZipFile where a member's checksum is wrong, or it would grow when read."""
    if not data:
        raise ValueError("it is empty")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("its members are compressed, as torch never does")
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f"the checksum of {wrong} is wrong")


# Work in progress: RUN/checkpoints/NAME, where nothing may be a link -------------------------------------


def save_progress(path: Path, payload: dict[str, Any]) -> None:
    """Writes a checkpoint like `save`, and keeps the one before it."""
    files.write_atomically(path, _bytes(payload), _previous(path), inside=_run(path))


def load_progress(path: Path, restore: Callable[[dict[str, Any]], None]) -> bool:
    """Calls restore(payload) with the newest checkpoint that is whole and fits; False where none is.

    One that is damaged, or of another network, is warned of by name. `restore` may be called twice.
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
    """Writes what `load_weights` reads, and keeps nothing from before."""
    save(path, payload, inside=_run(path))


def load_weights(path: Path) -> dict[str, Any]:
    """The newest generation alone. Raises as `load`."""
    return load(path, inside=_run(path))


def is_whole(path: Path) -> bool:
    """Whether the newest generation is there and undamaged."""
    try:
        load_weights(path)
    except CheckpointError as error:
        log.warning("%s", error)
        return False
    return True


def forget(path: Path) -> None:
    """Deletes a checkpoint of work in progress, and the one before it."""
    for file in (path, _previous(path)):
        files.remove(file, inside=_run(path))


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous")


def _run(path: Path) -> Path:
    return path.parent.parent


# best.pt ------------------------------------------------------------------------------------------------


def save_best(path: Path, contents: dict[str, Any], *, inside: Path | None = None) -> None:
    """Writes best.pt: see `load_best` for what it holds."""
    save(path, {"format": FORMAT, "nasmeta": __version__, **contents}, inside=inside)


def load_best(path: Path) -> dict[str, Any]:
    """Reads a best.pt (or the one inside a run directory).

    Keys: format, nasmeta (version), arch (canonical string), task (TaskSpec's fields), config (plain
    values, for `config.parse`), parameters and statistics (tensors by name), data (plain values, for
    `datasets.contents.read`), metrics.
    """
    path, inside = (path / "best.pt", path) if path.is_dir() else (path, None)
    payload = load(path, inside=inside)
    version = payload.get("format")
    if isinstance(version, int) and version < FORMAT:
        raise CheckpointError(
            f"{path}: has format {version}, this nasmeta {__version__} reads {FORMAT}: train it again "
            f"(it was written by {payload.get('nasmeta')})"
        )
    if not isinstance(version, int) or not payload.keys() >= _KINDS.keys():
        missing = ", ".join(sorted(_KINDS.keys() - payload.keys())) or "format"
        raise CheckpointError(f"{path}: no nasmeta checkpoint: it lacks {missing}")
    if version > FORMAT:
        raise CheckpointError(
            f"{path}: has format {version}, this nasmeta {__version__} reads {FORMAT}: update nasmeta "
            f"(it was written by {payload.get('nasmeta')})"
        )
    for key, kind in _KINDS.items():
        if not isinstance(payload[key], kind):
            raise CheckpointError(
                f"{path}: no nasmeta checkpoint: its {key} is a {type(payload[key]).__name__}"
            )
    fits(path, task_spec, payload)
    return payload


_KINDS: dict[str, type] = {
    "format": int,
    "arch": str,
    "task": Mapping,
    "config": Mapping,
    "parameters": Mapping,
    "statistics": Mapping,
    "data": Mapping,
    "metrics": Mapping,
}


def task_spec(payload: dict[str, Any]) -> TaskSpec:
    """The TaskSpec a best.pt was meta-learned for."""
    task = payload["task"]
    shape = tuple(int(size) for size in task["input_shape"])
    return TaskSpec(task["kind"], shape, int(task["outputs"]), int(task["train_classes"]))


def fits(path: Path, restore: Callable[[dict[str, Any]], Any], payload: dict[str, Any]) -> None:
    """Calls restore(payload); a payload for another network becomes a CheckpointError that names the file."""
    try:
        restore(payload)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(f"{path}: does not fit its own architecture: {reason}") from error
