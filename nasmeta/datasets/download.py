"""Downloads a published file, verifies its checksum, and puts it in place in one step."""

import hashlib
import logging
from dataclasses import dataclass
from operator import not_
from pathlib import Path
from typing import Annotated, BinaryIO, Literal
from urllib.request import urlopen

from nasmeta.errors import DataError
from nasmeta.runtime import files
from nasmeta.runtime.stored import UsersOnly

_BLOCK = 1 << 20
_log = logging.getLogger(__name__)

Download = Annotated[
    bool,
    UsersOnly("a stored configuration may not download", harmless=not_, replace=True, instead=False),
]
"""The type of an argument that allows downloads. In a stored configuration it allows none."""


@dataclass(frozen=True)
class Published:
    """A published file: its name, address and checksum, and a size in bytes that it cannot exceed."""

    name: str
    url: str
    algorithm: Literal["sha256", "md5"]
    digest: str
    max_bytes: int = 64 << 20

    def verify(self, path: Path) -> None:
        """Raises DataError if the file at `path` cannot be read or is not the published one."""
        try:
            with files.opened(path, self.max_bytes) as file:
                found = hashlib.file_digest(file, self._hash).hexdigest()  # type: ignore[arg-type]
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        if found != self.digest:
            raise DataError(
                f"{path}: damaged, or not the published file: its {self.algorithm} is {found}, "
                f"expected {self.digest}; delete it, and get it again from {self.url}"
            )

    def download(self, folder: Path) -> Path:
        """Downloads the file into `folder`, verifies it, and returns its path.

        Raises DataError if the folder cannot be written, the server cannot be reached, or what it sends is
        not the published file. Then nothing is left behind.
        """
        target = folder / self.name
        by_hand = f"put it at {target} by hand, from {self.url}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with files.replacing(target, durable=False) as file:
                _log.info("downloading %s to %s", self.url, target)
                found = self._stream(file)
                if found != self.digest:
                    raise DataError(
                        f"{self.url}: sent a file whose {self.algorithm} is {found}, expected {self.digest}; "
                        f"try again, or {by_hand}"
                    )
        except OSError as error:
            raise DataError(f"{self.name}: cannot be downloaded to {folder} ({error}); {by_hand}") from error
        return target

    def _stream(self, file: BinaryIO) -> str:
        """Writes the response to the file and returns its checksum."""
        digest, size = self._hash(), 0
        with urlopen(self.url, timeout=60) as response:
            if not response.url.startswith("https:"):
                raise DataError(f"{self.url}: leads to {response.url}, which is not encrypted; not read")
            while block := response.read(_BLOCK):
                size += len(block)
                if size > self.max_bytes:
                    raise DataError(
                        f"{self.url}: sent more than {self.max_bytes} bytes; the published file is smaller"
                    )
                digest.update(block)
                file.write(block)
        return digest.hexdigest()

    def _hash(self) -> "hashlib._Hash":
        return hashlib.new(self.algorithm, usedforsecurity=self.algorithm != "md5")
