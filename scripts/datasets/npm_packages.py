"""Pinned npm packages: fetched by npm's own client, checked, and read inside their archives.

A table names the packages of a data set, a line each: name, version, SHA-256 of the archive, licence. So
everyone gets the same files. Nothing is unpacked, and no code of a package runs.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nasmeta.errors import DataError

AT_ONCE = 8
"""Packages that one call of npm fetches; a killed download loses no more."""


@dataclass(frozen=True)
class Package:
    """One version of a package. sha256: of its archive, in hexadecimal digits. licence: its SPDX name."""

    name: str
    version: str
    sha256: str
    licence: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def file(self) -> str:
        """The name that npm gives to the archive."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


def read_table(path: Path) -> list[Package]:
    """The packages that a table names. Raises DataError if a line has other than four words."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    for number, words in enumerate(lines, 1):
        if len(words) != 4:
            raise DataError(f"{path}: line {number}: {len(words)} words; name, version, SHA-256, licence")
    return [Package(*words) for words in lines]


def fetch(packages: Iterable[Package], cache: Path) -> dict[str, "Archive"]:
    """The archives of the packages, by name. Those that the folder `cache` lacks are downloaded into it.

    A damaged archive in the cache is downloaded again. Raises DataError if npm is missing or fails, or if it
    delivers another archive than the table says.
    """
    cache.mkdir(parents=True, exist_ok=True)
    wanted = list(packages)
    missing = [package for package in wanted if _checksum(cache / package.file) != package.sha256]
    for start in range(0, len(missing), AT_ONCE):
        print(f"\rdownloading {start} of {len(missing)} packages", end="", file=sys.stderr, flush=True)
        _download(missing[start : start + AT_ONCE], cache)
    if missing:
        print(f"\rdownloaded {len(missing)} packages to {cache}    ", file=sys.stderr)
    return {package.name: Archive(package, cache / package.file) for package in wanted}


def _checksum(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(packages: list[Package], cache: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm: no such program; it comes with Node.js")
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [npm, "pack", "--loglevel=error", "--ignore-scripts", *map(str, packages)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            said = [line.removeprefix("npm error ") for line in done.stderr.splitlines()]
            raise DataError(f"npm pack {' '.join(map(str, packages))}: failed: {'; '.join(said[:2])}")
        for package in packages:
            found = _checksum(Path(folder) / package.file)
            if found != package.sha256:
                raise DataError(
                    f"{package}: npm's archive has the SHA-256 {found}, not {package.sha256}; "
                    "ask the registry's owner why it differs"
                )
            os.replace(Path(folder) / package.file, cache / package.file)


@dataclass(frozen=True)
class Archive:
    """The files of a package, read from its archive at `path`."""

    package: Package
    path: Path

    @cached_property
    def _opened(self) -> tuple[tarfile.TarFile, dict[str, tarfile.TarInfo]]:
        archive = tarfile.open(self.path)  # noqa: SIM115 (it stays open)
        return archive, {member.name.partition("/")[2]: member for member in archive.getmembers()}

    @property
    def names(self) -> list[str]:
        """The files, by their paths inside the package."""
        return list(self._opened[1])

    def read(self, name: str) -> bytes:
        """The content of a file. Raises KeyError if there is none of that name."""
        archive, members = self._opened
        file = archive.extractfile(members[name])
        assert file is not None, f"{name} is a folder"
        return file.read()

    def read_json(self, name: str) -> Any:
        """The value in a JSON file; {} if there is no such file."""
        return json.loads(self.read(name)) if name in self.names else {}
