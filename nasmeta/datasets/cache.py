"""Caches decoded images in one tensor file for each dataset and configuration."""

import json
import logging
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import torch

from nasmeta.datasets.base import ImageTable
from nasmeta.errors import DataError, StorageError
from nasmeta.runtime import files
from nasmeta.runtime.paths import Folder
from nasmeta.runtime.stored import UsersOnly

_FORMAT = 2
_log = logging.getLogger(__name__)


TAG = "CACHEDIR.TAG"
_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# Decoded images of nasmeta; may be deleted.\n"
"""Marks a folder of decoded images as ours, and as a cache for backup programs.

See https://bford.info/cachedir/.
"""


def is_ours(folder: str | None) -> bool:
    """Whether nasmeta made the cache folder. True if `folder` is None, so that nothing is written."""
    if folder is None:
        return True
    try:
        return files.read_bytes(Path(folder) / TAG, len(_TAG)) == _TAG
    except OSError:
        return False


CacheFolder = Annotated[
    Folder | None,
    UsersOnly(
        "a stored configuration may only write to a cache that nasmeta has made; images are decoded anew",
        harmless=is_ours,
        replace=True,
    ),
]
"""The type of an argument that names a folder for decoded images.

If a stored configuration names the folder, it has to be a cache already.
"""


def cached_table(folder: Path | None, name: str, key: object, build: Callable[[], ImageTable]) -> ImageTable:
    """What `build` returns, read from `folder`/`name`-HASH.pt if it was built before for an equal `key`.

    `key` holds everything that the table depends on, as values that JSON can hold. A damaged file is built
    again and replaced. If the folder cannot be written, a warning says so. If `folder` is None, nothing is
    cached.
    """
    if folder is None:
        return build()
    text = json.dumps([_FORMAT, key])
    path = folder / f"{name}-{blake2b(text.encode(), digest_size=16).hexdigest()}.pt"
    table = _read(path)
    if table is None:
        table = build()
        _write(path, table)
    return table


def stats(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Path, size in bytes and time of each file, by which a cache notices that it was changed.

    Raises DataError if a file is missing.
    """
    try:
        found = [(path, path.stat()) for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}; an image of the dataset is missing") from error
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found]


def _read(path: Path) -> ImageTable | None:
    try:
        with files.opened(path, files.MAX_TENSORS) as file:
            stored = torch.load(file, weights_only=True)
        table = ImageTable(stored["pixels"].permute(0, 3, 1, 2), stored["counts"], tuple(stored["names"]))
        if stored["checksum"] != table.checksum:
            raise ValueError("its checksum is wrong")
        return table
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file can raise anything, and it is only a cache
        _log.info("%s: built again (%s)", path, error)
        return None


def _write(path: Path, table: ImageTable) -> None:
    stored = {
        "pixels": table.images.permute(0, 2, 3, 1).contiguous(),
        "counts": table.counts,
        "names": list(table.names),
        "checksum": table.checksum,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.parent / TAG).exists():
            files.write_atomically(path.parent / TAG, _TAG)
        with files.replacing(path, durable=False) as file:
            torch.save(stored, file)
    except (OSError, RuntimeError, StorageError) as error:
        _log.warning("%s: cannot be written (%s); the images will be decoded again next time", path, error)
