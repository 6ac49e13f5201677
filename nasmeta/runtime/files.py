"""The only place in nasmeta that opens, writes, locks and deletes files.

A folder may come from a stranger. So no function here waits for a pipe, opens a device, or reads without a
limit, and none writes into a file that also has another name. How to use it:

    files.read_bytes(path, files.MAX_TEXT)                    a file that the user has named
    files.read_bytes(path, files.MAX_TEXT, inside=run)        a file that was found in the folder `run`
    with files.opened(path, files.MAX_IMAGE) as file: ...     the same, piece by piece
    files.write_atomically(path, data, inside=run)            replaces a file
    with files.replacing(path) as file: ...                   the same, piece by piece
    files.appending(path, inside=run)                         a journal
    with files.locked(path, "run"): ...                       one process at a time
    files.make_folder(path, inside=run), files.remove(path, inside=run)

Links: a path that the command line names is followed. That is `path` if there is no `inside`, and `inside`
itself. What is found in a folder is not followed: with `inside`, neither the file nor a folder between the
two may be a link, and the path may not lead out of `inside`.

Errors: functions that open a file raise OSError, or its subclass Refused; show their `strerror`. The others
raise errors whose text is already a sentence: UserError if the file is refused, and StorageError otherwise.
"""

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from nasmeta.errors import RunDirectoryError, StorageError, UserError

MAX_TEXT = 1 << 20
"""Largest configuration, in bytes; a composed one has a few thousand."""

MAX_TABLE = 256 << 20
"""Largest file with a record for each trial, job, image or architecture, in bytes."""

MAX_JOURNAL = 1 << 30
"""Largest journal, in bytes; a trial takes about 500."""

MAX_IMAGE = 512 << 20
"""Largest image file or archive of images, in bytes."""

MAX_TENSORS = 16 << 30
"""Largest file of tensors, in bytes."""

ABANDONED_SECONDS = 3600.0
"""The age at which a temporary file is taken for one that a killed process has left."""

_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_WRITE = _READ | os.O_WRONLY | os.O_CREAT
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_BY_FOLDER = os.open in os.supports_dir_fd  # not on Windows, where folders that are links are followed

_PREFIX, _SUFFIX = ".nasmeta-", ".tmp"

_KINDS = {
    stat.S_IFREG: "is a file",
    stat.S_IFDIR: "is a folder",
    stat.S_IFLNK: "is a symbolic link",
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


class Refused(OSError):
    """The file is not opened: not a regular file, too large, or in a wrong place. `strerror` says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EPERM, reason, str(path))

    def __str__(self) -> str:
        return str(self.strerror)


# Reading ------------------------------------------------------------------------------------------------


def read_bytes(path: Path, limit: int, *, inside: Path | None = None) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises OSError: FileNotFoundError if there is no such file, Refused as the module's docstring says.
    """
    with opened(path, limit, inside=inside) as file:
        return file.read(os.fstat(file.fileno()).st_size)  # not to its end: it may be growing


def opened(path: Path, limit: int, *, inside: Path | None = None) -> BinaryIO:
    """A regular file of at most `limit` bytes, open for reading. Raises as `read_bytes`."""
    with _folder_of(path, inside) as folder:
        descriptor = _open_regular(path, _READ, folder, follow=inside is None)
    file = os.fdopen(descriptor, "rb")
    size = os.fstat(descriptor).st_size
    if size > limit:
        file.close()
        raise Refused(path, f"has {size} bytes, at most {limit} are read")
    return file


# Writing ------------------------------------------------------------------------------------------------


def write_atomically(
    path: Path, data: bytes, previous: Path | None = None, *, inside: Path | None = None
) -> None:
    """Replaces the file `path` by `data`; a reader always finds the old file or the new one.

    That holds even if the process is killed. `previous`, a path in the same folder, keeps the old file under
    that name; a kill may leave it under that name alone. Raises UserError or StorageError, and then leaves
    the old file as it was.
    """
    with _explained(path, "cannot be written"), replacing(path, previous, inside=inside) as file:
        file.write(data)


@contextmanager
def replacing(
    path: Path, previous: Path | None = None, *, inside: Path | None = None, durable: bool = True
) -> Iterator[BinaryIO]:
    """A new file, open for writing, that replaces `path` when the block ends without an exception.

    Like `write_atomically`, but raises OSError. Until the block ends, the file has an unpredictable name. A
    link at `path` is replaced, and what it points to is left alone. `durable` puts all of it on the disk by
    the end of the block.
    """
    temporary = path.with_name(f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")
    with _folder_of(path, inside, always=True) as folder:
        _remove_abandoned(path.parent)
        descriptor = os.open(_name(temporary, folder), _WRITE | os.O_EXCL | _NO_LINK, 0o666, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                if durable:
                    os.fsync(descriptor)
            if previous is not None:
                with suppress(FileNotFoundError):
                    _rename(path, previous, folder)
            _rename(temporary, path, folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(_name(temporary, folder), dir_fd=folder)
            raise
        if durable and folder is not None:
            os.fsync(folder)


def appending(path: Path, *, inside: Path) -> BinaryIO:
    """A file open for writing at its end, unbuffered; created if it does not exist. Raises OSError.

    A file with a second name (a hard link) is refused, because both would change.
    """
    with _folder_of(path, inside) as folder:
        descriptor = _open_regular(path, _WRITE | os.O_APPEND, folder, follow=False)
    try:
        _check_one_name(path, os.fstat(descriptor))
    except Refused:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "ab", buffering=0)


def make_folder(path: Path, *, inside: Path) -> None:
    """Makes the folder unless it exists. Raises UserError if something else is there, or StorageError."""
    with _explained(path, "cannot be made"), _folder_of(path, inside) as folder:
        with suppress(FileExistsError):
            os.mkdir(_name(path, folder), dir_fd=folder)
        _check(path, stat.S_IFDIR, _stat(path, folder, follow=False))


def check_plain(*paths: Path) -> None:
    """Raises UserError if a path exists and is neither a folder nor a regular file with a single name.

    Called before a library writes there: it would follow a link, or write into a file with a second name.
    """
    for path in paths:
        with _explained(path, "cannot be used"), suppress(FileNotFoundError, NotADirectoryError):
            found = _stat(path, None, follow=False)
            if stat.S_ISREG(found.st_mode):
                _check_one_name(path, found)
            elif not stat.S_ISDIR(found.st_mode):
                raise Refused(path, f"{_kind(found)} instead of a folder or a regular file")


def check_new(output: Path | None) -> None:
    """Raises UserError if a command's output would overwrite a file, or if its folder does not exist."""
    if output is not None and os.path.lexists(output):
        raise UserError(f"{output}: exists already (--output); name another file, or remove it")
    if output is not None and not output.parent.is_dir():
        raise UserError(f"{output.parent}: no such folder (--output)")


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path` is below `folder` after all links are followed; neither has to exist."""
    if "\0" in str(path):
        return False
    end = Path(os.path.realpath(path))
    return Path(os.path.realpath(folder)) in end.parents and not end.is_symlink()  # a circle has no end


def remove(path: Path, *, inside: Path) -> None:
    """Deletes a file, or a link in its place, if it exists. Raises UserError or StorageError."""
    with (
        _explained(path, "cannot be deleted"),
        suppress(FileNotFoundError),
        _folder_of(path, inside) as folder,
    ):
        os.unlink(_name(path, folder), dir_fd=folder)


@contextmanager
def locked(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock file `path` inside the block; if the process dies, the system releases the lock.

    `what` is "run" or "sweep", for messages. Raises RunDirectoryError if another process holds the lock,
    unless it should `wait` for that, and UserError or StorageError if the file cannot be locked.
    """
    with ExitStack() as held:
        with _explained(path, "cannot be locked"):
            with suppress(FileNotFoundError):  # FileLock follows no link either, but does not say so
                found = _stat(path, None, follow=False)
                _check(path, stat.S_IFREG, found)
                _check_one_name(path, found)
            try:
                held.enter_context(FileLock(path, timeout=-1 if wait else 0))
            except Timeout as error:
                raise RunDirectoryError(
                    f"{path.parent}: another process is working on this {what} (it holds {path.name}); "
                    "wait for it"
                ) from error
        yield


def remove_leftovers(folder: Path, older_than: float = 0.0) -> None:
    """Deletes temporary files that killed processes left in the folder, at least `older_than` seconds old."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                with suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime >= older_than:
                        os.unlink(entry.path)


# ---------------------------------------------------------------------------------------------------------


@contextmanager
def _folder_of(path: Path, inside: Path | None, *, always: bool = False) -> Iterator[int | None]:
    """Yields a descriptor of the folder that `path` is in, reached from `inside` without following a link.

    Yields None, so that the path is used as it is, on Windows and if `inside` is None and not `always`.
    """
    if "\0" in str(path):
        raise Refused(path, "has a NUL in its name")
    if not _BY_FOLDER or (inside is None and not always):
        yield None
        return
    start = path.parent if inside is None else inside
    folder = os.open(start, _FOLDER)
    try:
        for part in path.parent.relative_to(start).parts:
            if part == "..":
                raise Refused(path, f"leads out of {inside}")
            start = start / part
            found = os.stat(part, dir_fd=folder, follow_symlinks=False)
            _check(path, stat.S_IFDIR, found, f"its folder {start} ")
            outer, folder = folder, os.open(part, _FOLDER | _NO_LINK, dir_fd=folder)
            os.close(outer)
        yield folder
    finally:
        os.close(folder)


def _open_regular(path: Path, flags: int, folder: int | None, *, follow: bool) -> int:
    """A descriptor of a regular file. Its kind is checked first, since opening a device may have effects."""
    with suppress(FileNotFoundError):
        _check(path, stat.S_IFREG, _stat(path, folder, follow=follow))
    descriptor = os.open(_name(path, folder), flags | (0 if follow else _NO_LINK), 0o666, dir_fd=folder)
    try:
        _check(path, stat.S_IFREG, os.fstat(descriptor))
    except Refused:
        os.close(descriptor)
        raise
    return descriptor


def _stat(path: Path, folder: int | None, *, follow: bool) -> os.stat_result:
    return os.stat(_name(path, folder), dir_fd=folder, follow_symlinks=follow)


def _check(path: Path, kind: int, found: os.stat_result, subject: str = "") -> None:
    """Raises Refused unless `found` is of the kind, with a reason that begins with `subject`."""
    if stat.S_IFMT(found.st_mode) != kind:
        wanted = "folder" if kind == stat.S_IFDIR else "regular file"
        raise Refused(path, f"{subject}{_kind(found)} instead of a {wanted}")


def _kind(found: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(found.st_mode), "is something else")


def _check_one_name(path: Path, found: os.stat_result) -> None:
    if found.st_nlink > 1:
        raise Refused(path, "is a hard link, and its other name would change too: replace it by a copy")


@contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    """Turns an OSError inside the block into a UserError or a StorageError; see the module's docstring."""
    try:
        yield
    except Refused as error:
        raise UserError(f"{path}: {what}: {error}") from error
    except OSError as error:
        raise StorageError(f"{path}: {what}: {error.strerror}") from error


def _name(path: Path, folder: int | None) -> str:
    return str(path) if folder is None else path.name


def _rename(old: Path, new: Path, folder: int | None) -> None:
    os.replace(_name(old, folder), _name(new, folder), src_dir_fd=folder, dst_dir_fd=folder)


_seen: set[Path] = set()


def _remove_abandoned(folder: Path) -> None:
    """Deletes what killed processes have left in the folder; looks once per process."""
    if folder not in _seen:
        _seen.add(folder)
        remove_leftovers(folder, ABANDONED_SECONDS)
