"""Reads the images of a zip with members set/alphabet/character/drawing.png, or of its unpacked folder."""

import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from nasmeta.errors import DataError
from nasmeta.runtime import files

MAX_MEMBER_BYTES = 1 << 20  # a drawing of Omniglot has about 300

_DRAWING = re.compile(r"[^/]+/[^/]+/[^/]+/[^/]+\.png")


def drawings(path: Path) -> list[str]:
    """The names of the members set/alphabet/character/drawing.png, sorted. Reads none of them."""
    if path.is_dir():
        found = path.glob("[!.]*/[!.]*/[!.]*.png")
        return sorted(drawing.relative_to(path.parent).as_posix() for drawing in found)
    with _opened(path) as archive:
        return sorted(filter(_DRAWING.fullmatch, archive.namelist()))


def contents(path: Path, members: Collection[str]) -> dict[str, BytesIO]:
    """The bytes of members of the archive. A zip must be the published one: sizes in it are believed."""
    if path.is_dir():
        return {member: _content(path.parent / member) for member in members}
    with _opened(path) as archive:
        return {member: BytesIO(archive.read(member)) for member in members}


def _content(file: Path) -> BytesIO:
    try:
        return BytesIO(files.read_bytes(file, MAX_MEMBER_BYTES))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error


@contextmanager
def _opened(path: Path) -> Iterator[ZipFile]:
    """The zip at `path`, open inside the block. Raises DataError, with the file, if it is damaged."""
    try:
        with files.opened(path, files.MAX_IMAGE) as file, ZipFile(file) as archive:
            yield archive
    except (files.Refused, PermissionError) as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (BadZipFile, OSError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as a zip ({error}); delete it and get it again") from error
