"""Omniglot: handwritten characters of many alphabets, 20 drawings each.

Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program induction",
Science 2015. https://github.com/brendenlake/omniglot (MIT licence).
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.cache import CacheFolder, cached_table, stats
from nasmeta.datasets.download import Download, Published
from nasmeta.datasets.image_archive import contents, drawings
from nasmeta.datasets.images import ImageDataset
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
_SMALL_SPLITS: dict[Split, list[str]] = {
    "train": ["Balinese", "Early_Aramaic", "Greek", "Korean", "Japanese_(katakana)"],
    "valid": ["Latin"],
    "test": ["Sanskrit", "Tagalog"],
}


Drawing = tuple[Path, str]
"""The archive that a drawing is in, and its name there."""


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

    download: whether missing archives are fetched. cache: the folder for decoded images; None for no cache.

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
        self._turns = 4 if rotations else 1
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
    def _characters(self) -> dict[Split, dict[str, list[Drawing]]]:
        """The drawings of each character of each split, by the character's name.

        An alphabet that is in both archives is read from the first.
        """
        paths = [self._path(archive) for archive in self._archives]
        first, second = (_index(path) for path in paths)
        splits = _SMALL_SPLITS
        if self._archives is not ARCHIVES["small"]:
            background = list(first)
            train, valid = background[:-_VALID_ALPHABETS], background[-_VALID_ALPHABETS:]
            splits = {"train": train, "valid": valid, "test": list(second)}
        characters = second | first
        for alphabet in (alphabet for split in SPLITS for alphabet in splits[split]):
            if alphabet not in characters:
                raise DataError(f"{paths[0]}: no alphabet {alphabet!r} in it; delete it and get it again")
        return {
            split: {name: drawn for a in splits[split] for name, drawn in characters[a].items()}
            for split in SPLITS
        }

    def class_counts(self, split: Split) -> Mapping[str, int]:
        return {
            f"{name}/rot{90 * turn:03}": len(drawn)
            for turn in range(self._turns)
            for name, drawn in self._characters[split].items()
        }

    def _load(self, split: Split) -> Mapping[Split, ImageTable]:
        paths = [self._path(archive) for archive in self._archives]
        each = [file for path in paths for file in (sorted(path.rglob("*.png")) if path.is_dir() else [path])]
        key = [[archive.digest for archive in self._archives], stats(each), self._reader.size]
        whole = cached_table(self._cache, "omniglot", key, self._decode)
        tables, first = {}, 0
        for name in SPLITS:
            last = first + len(self._characters[name])
            upright, first = whole.classes(first, last), last
            images = torch.cat([torch.rot90(upright.images, turn, (2, 3)) for turn in range(self._turns)])
            counts = upright.counts.repeat(self._turns)
            tables[name] = ImageTable(images, counts, tuple(self.class_counts(name)))
        return tables

    def _decode(self) -> ImageTable:
        """The table of all upright characters, in the order of the splits. Verifies packed archives first."""
        for archive in self._archives:
            path = self._path(archive)
            if path.is_file():
                archive.verify(path)
        characters = {name: drawn for split in SPLITS for name, drawn in self._characters[split].items()}
        where = [drawing for drawn in characters.values() for drawing in drawn]
        read = {
            path: contents(path, [member for holder, member in where if holder == path])
            for path in {path for path, _ in where}
        }
        images = self._reader.read(
            [read[path][member] for path, member in where], [f"{path}: {member}" for path, member in where]
        )
        return ImageTable(images, torch.tensor(list(map(len, characters.values()))), tuple(characters))


def _index(path: Path) -> dict[str, dict[str, list[Drawing]]]:
    """The drawings in an archive, by the names of their alphabet and of their character."""
    index: dict[str, dict[str, list[Drawing]]] = {}
    for member in drawings(path):
        _, alphabet, character, _ = member.split("/")
        index.setdefault(alphabet, {}).setdefault(f"{alphabet}/{character}", []).append((path, member))
    return index
