"""Reads the images of a zip with members set/alphabet/character/drawing.png, or of its unpacked folder."""

import threading
import zlib
from io import BytesIO
from pathlib import Path
from types import TracebackType
from zipfile import BadZipFile, ZipFile

from nasmeta.errors import DataError
from nasmeta.runtime import files

MAX_MEMBER_BYTES = 1 << 20  # a drawing of Omniglot has about 300

Index = dict[str, dict[str, list[str]]]


class ImageArchive:
    """An open zip archive, to be used in a `with`. Raises DataError, with the file, if it is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # The zipfile of Python 3.12 moves the file's position outside of its lock, so threads that share an
        # archive read damaged members.
        self._lock = threading.Lock()
        try:
            self._file = files.opened(path, files.MAX_IMAGE)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            self._zip = ZipFile(self._file)
        except (BadZipFile, OSError) as error:
            self._file.close()
            raise DataError(
                f"{path}: cannot be read as a zip ({error}); delete it and get it again"
            ) from error

    def __enter__(self) -> "ImageArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()
        self._file.close()

    def index(self) -> Index:
        """{alphabet: {character: [member, ...]}}, all sorted by name.

        Raises DataError if a member is too large.
        """
        index: Index = {}
        for member in sorted(self._zip.infolist(), key=lambda member: member.filename):
            parts = member.filename.split("/")
            if len(parts) != 4 or not parts[3].endswith(".png"):
                continue
            if member.file_size > MAX_MEMBER_BYTES:
                raise DataError(
                    f"{self._path}: {member.filename} claims {member.file_size} bytes, more than "
                    f"{MAX_MEMBER_BYTES}; this is not the published archive, delete it and get it again"
                )
            index.setdefault(parts[1], {}).setdefault(parts[2], []).append(member.filename)
        return index

    def read(self, member: str) -> BytesIO:
        """The bytes of a member of the index, with their checksum verified. Threads may share an archive."""
        try:
            with self._lock:
                return BytesIO(self._zip.read(member))
        except (BadZipFile, OSError, zlib.error) as error:
            raise DataError(
                f"{self._path}: {member}: {error}; delete the archive and get it again"
            ) from error


class UnpackedArchive:
    """The folder `set` of an unpacked archive. Its members have the same names, without `set`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "UnpackedArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Does nothing: no file is open."""

    def index(self) -> Index:
        """{alphabet: {character: [member, ...]}}, all sorted by name."""
        index: Index = {}
        for alphabet in _shown(self._path):
            for character in _shown(alphabet):
                members = [
                    str(drawing.relative_to(self._path))
                    for drawing in _shown(character)
                    if drawing.suffix == ".png"
                ]
                if members:
                    index.setdefault(alphabet.name, {})[character.name] = members
        return index

    def read(self, member: str) -> BytesIO:
        """The bytes of a member of the index."""
        try:
            return BytesIO(files.read_bytes(self._path / member, MAX_MEMBER_BYTES))
        except OSError as error:
            raise DataError(f"{self._path / member}: cannot be read: {error.strerror}") from error


def open_archive(path: Path) -> ImageArchive | UnpackedArchive:
    """The archive at `path`, a zip or the folder that it was unpacked to."""
    return UnpackedArchive(path) if path.is_dir() else ImageArchive(path)


def _shown(folder: Path) -> list[Path]:
    """The paths in a folder, sorted by name, without hidden ones; empty if it is a file."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
