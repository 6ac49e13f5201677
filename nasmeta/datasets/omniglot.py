"""Omniglot: handwritten characters of many alphabets, 20 drawings each.

Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program induction",
Science 2015. https://github.com/brendenlake/omniglot (MIT licence).
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.cache import CacheFolder, cached_table
from nasmeta.datasets.decode import decode_all, decode_glyph
from nasmeta.datasets.download import Download, Published
from nasmeta.datasets.image_archive import Index, open_archive
from nasmeta.datasets.images import ImageDataset
from nasmeta.datasets.pixel_values import Pixels
from nasmeta.errors import ConfigError, DataError
from nasmeta.runtime.paths import Folder, absolute_folder
from nasmeta.task import SPLITS, Split

_VALID_ALPHABETS = 5  # of the background alphabets of the full set


def _published(name: str, algorithm: Literal["sha256", "md5"], digest: str) -> Published:
    return Published(
        name, f"https://github.com/brendenlake/omniglot/raw/master/python/{name}", algorithm, digest
    )


ARCHIVES: dict[str, tuple[Published, Published]] = {
    "full": (
        _published("images_background.zip", "md5", "68d2efa1b9178cc56df9314c21c6e718"),
        _published("images_evaluation.zip", "md5", "6b91aef0f799c5bb55b94e3f2daec811"),
    ),
    "small": (
        _published(
            "images_background_small1.zip",
            "sha256",
            "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
        ),
        _published(
            "images_background_small2.zip",
            "sha256",
            "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
        ),
    ),
}
_SMALL_SPLITS: dict[str, Split] = {
    "Balinese": "train",
    "Early_Aramaic": "train",
    "Greek": "train",
    "Korean": "train",
    "Japanese_(katakana)": "train",
    "Latin": "valid",
    "Sanskrit": "test",
    "Tagalog": "test",
}


@dataclass(frozen=True)
class _Character:
    """The drawings of one character, which are `members` of one archive."""

    name: str
    archive: Path
    members: tuple[str, ...]


class Omniglot(ImageDataset):
    """Omniglot, split by alphabet, read from the official archives, packed or unpacked.

    `root` is the folder that holds the archives, or is one of them. Unpacked archives have no checksum that
    could be verified. Images are ink 255 on 0, with `size` x `size` pixels.

    `variant` "small" is the two small background sets of the authors (8 alphabets, 242 characters). Train is
    Balinese, Early Aramaic, Greek, Korean and Japanese (katakana), valid is Latin, and test is Sanskrit and
    Tagalog. "full" keeps the authors' own division of all 1623 characters. The 20 alphabets of the evaluation
    set are test. Of the 30 alphabets of the background set, in alphabetical order, the last five are valid
    and the others train. (Vinyals et al. 2016 mix the characters of all alphabets. That is easier, since test
    characters then have siblings in training.)

    With `rotations`, a character turned by 90, 180 or 270 degrees is a separate class in the same split.
    All upright characters come first, then all turned by 90 degrees, and so on.
    """

    def __init__(
        self,
        *,
        root: Folder | None,
        variant: Literal["full", "small"],
        download: Download,
        size: Annotated[int, Field(ge=4, le=105)],
        rotations: bool,
        cache: CacheFolder,
    ) -> None:
        super().__init__(channels=1, size=size, glyph=True)
        self._cache = Path(absolute_folder(cache)) if cache else None
        self._archives, self._download = ARCHIVES[variant], download
        if root:
            self._root = self._holder(Path(absolute_folder(root)))
        elif self._cache:
            self._root = self._cache / "omniglot"
        else:
            raise ConfigError(
                "dataset.root: None, and dataset.cache is None too; name a folder in one of them"
            )
        self._size, self._turns = size, 4 if rotations else 1
        if not download:
            for archive in self._archives:
                self._path(archive)

    def _holder(self, root: Path) -> Path:
        """The folder that holds the archives: `root`, or its parent if `root` is itself an archive."""
        names = {name for archive in self._archives for name in (archive.name, Path(archive.name).stem)}
        if root.name in names and root.exists():
            return root.parent
        if root.is_file():
            expected = " and ".join(archive.name for archive in self._archives)
            raise DataError(f"dataset.root: {root} is a file; name the folder that holds {expected}")
        return root

    def _path(self, archive: Published) -> Path:
        """The path of the archive, packed or unpacked. Downloads it if it is missing and that is allowed."""
        path = self._root / archive.name
        for there in (path, path.with_suffix("")):
            if there.exists():
                return there
        if self._download:
            return archive.download(self._root)
        raise DataError(
            f"{archive.name}: not found in {self._root}; set dataset.download=true, "
            f"or get it from {archive.url}"
        )

    @cached_property
    def _characters(self) -> dict[Split, list[_Character]]:
        """The characters of each split, from the indices of the archives.

        An alphabet that is in both archives is read once.
        """
        paths = [self._path(archive) for archive in self._archives]
        indices = [self._index(path) for path in paths]
        splits = _SMALL_SPLITS if self._archives is ARCHIVES["small"] else _full_splits(*indices)
        found: dict[Split, list[_Character]] = {split: [] for split in SPLITS}
        for alphabet, split in splits.items():
            which = next((i for i, index in enumerate(indices) if alphabet in index), None)
            if which is None:
                raise DataError(f"{paths[0]}: no alphabet {alphabet!r} in it; delete it and get it again")
            for character, members in indices[which][alphabet].items():
                found[split].append(_Character(f"{alphabet}/{character}", paths[which], tuple(members)))
        return found

    @staticmethod
    def _index(path: Path) -> Index:
        with open_archive(path) as archive:
            return archive.index()

    def class_counts(self, split: Split) -> Mapping[str, int]:
        return {
            f"{character.name}/rot{90 * turn:03}": len(character.members)
            for turn in range(self._turns)
            for character in self._characters[split]
        }

    def _load(self, split: Split) -> Mapping[Split, ImageTable]:
        paths = [self._path(archive) for archive in self._archives]
        stats = [_stats(path) for path in paths]
        digests = [archive.digest for archive in self._archives]
        upright = cached_table(self._cache, "omniglot", [digests, stats, self._size], self._decode)
        tables, first = {}, 0
        for each in SPLITS:
            last = first + len(self._characters[each])
            tables[each] = self._turned(each, upright.classes(first, last))
            first = last
        return tables

    def _turned(self, split: Split, upright: ImageTable) -> ImageTable:
        names = tuple(self.class_counts(split))
        images = torch.cat([torch.rot90(upright.images, turn, (2, 3)) for turn in range(self._turns)])
        return ImageTable(images, upright.counts.repeat(self._turns), names)

    def _decode(self) -> ImageTable:
        """The table of all upright characters, in the order of the splits. Verifies packed archives first."""
        for archive in self._archives:
            path = self._path(archive)
            if path.is_file():
                archive.verify(path)
        characters = [character for split in SPLITS for character in self._characters[split]]
        counts = [len(character.members) for character in characters]
        items = [(character.archive, member) for character in characters for member in character.members]
        with ExitStack() as stack:
            paths = {character.archive for character in characters}
            archives = {path: open_archive(path) for path in paths}
            for opened in archives.values():
                stack.enter_context(opened)

            def decode(item: tuple[Path, str]) -> Pixels:
                path, member = item
                return decode_glyph(archives[path].read(member), f"{path}: {member}", self._size)

            images = decode_all(items, decode, (self._size, self._size, 1))
        return ImageTable(images, torch.tensor(counts), tuple(character.name for character in characters))


def _stats(path: Path) -> list[list[str | int]]:
    """Name, size in bytes and time of an archive, or of every file of an unpacked one."""
    each = sorted(path.rglob("*.png")) if path.is_dir() else [path]
    found = [(str(file.relative_to(path.parent)), file.stat()) for file in each]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]


def _full_splits(background: Index, evaluation: Index) -> dict[str, Split]:
    """{alphabet: split} of the full set, as the docstring of Omniglot describes."""
    splits: dict[str, Split] = {}
    for number, alphabet in enumerate(reversed(background)):
        splits[alphabet] = "valid" if number < _VALID_ALPHABETS else "train"
    return {**dict(reversed(splits.items())), **dict.fromkeys(evaluation, "test")}
