"""Reads images straight out of a zip `set/alphabet/character/drawing.png`; nothing is unpacked to disk."""

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
    """An open archive, to be used in a `with`. Raises DataError naming the file where it is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Python 3.12's zipfile moves the file's one position outside of its lock: members came out damaged.
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
        """{alphabet: {character: [member, ...]}}, all sorted by name; raises where a member is too large."""
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
        """The bytes of a member of the index, their checksum verified; threads may share an archive."""
        try:
            with self._lock:
                return BytesIO(self._zip.read(member))
        except (BadZipFile, OSError, zlib.error) as error:
            raise DataError(
                f"{self._path}: {member}: {error}; delete the archive and get it again"
            ) from error
