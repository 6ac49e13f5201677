"""Your own images: folders, or the split files of a published benchmark such as mini-ImageNet."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field

from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.cache import CacheFolder, cached_table, stats
from nasmeta.datasets.contents import Contents
from nasmeta.datasets.decode import Preprocessing
from nasmeta.datasets.folder_layouts import (
    LAYOUTS,
    check_disjoint,
    divide,
    divide_as_before,
    few_classes,
    has_split_folders,
    read_classes,
    read_split_files,
    read_split_folders,
    without,
)
from nasmeta.datasets.image_files import Classes, LeftOut
from nasmeta.datasets.images import ImageDataset
from nasmeta.errors import ConfigError, DataError
from nasmeta.runtime.paths import Folder, absolute_folder
from nasmeta.task import SPLITS, Split

Fraction = Annotated[float, Field(gt=0, lt=1)]


class ImageFolder(ImageDataset):
    """Images in folders, laid out as `folder_layouts` describes. The splits share no class.

    Every image is decoded by an ImageReader to `size` x `size` pixels with 1 or 3 `channels`, and normalized
    by the mean and standard deviation of the train split. Classes with fewer than `min_images` images, or
    with too few for `shot` and one query, are left out. So are files that `image_files` does not take for
    images; `notices` counts both. `valid_fraction`, `test_fraction` and `seed` count only if the layout is
    root/CLASS/IMAGE. `split_files` is the folder of train.csv, val.csv and test.csv; their images are in
    root/images. `cache` is the folder for decoded images, None for no cache.
    """

    def __init__(
        self,
        *,
        root: Folder,
        split_files: Folder | None,
        size: Annotated[int, Field(ge=4, le=4096)],
        channels: Literal[1, 3],
        min_images: Annotated[int, Field(ge=1)] | None,
        valid_fraction: Fraction,
        test_fraction: Fraction,
        seed: int,
        cache: CacheFolder,
        shot: int,
    ) -> None:
        super().__init__(channels=channels, size=size, glyph=False)
        self._root = Path(absolute_folder(root))
        if self._root.is_file():
            raise DataError(
                f"{self._root}: is a file (dataset.root); unpack it and name the folder; {LAYOUTS}"
            )
        if not self._root.is_dir():
            raise DataError(f"{self._root}: no such folder (dataset.root); {LAYOUTS}")
        if valid_fraction + test_fraction >= 1:
            raise ConfigError(
                f"dataset.valid_fraction + dataset.test_fraction: {valid_fraction} + {test_fraction}; "
                f"their sum must be below 1, so that classes are left to train on"
            )
        self._split_files = Path(absolute_folder(split_files)) if split_files else None
        self._fractions, self._seed = (valid_fraction, test_fraction), seed
        self._left_out = LeftOut(least=max(min_images or 1, shot + 1))
        self._cache = Path(absolute_folder(cache)) if cache else None
        self._splits: Collection[Split] = SPLITS
        self._trained_on: Contents = {}

    def as_trained(
        self, trained_on: Contents, preprocessing: Preprocessing | None, splits: Collection[Split]
    ) -> Self:
        dataset = super().as_trained(trained_on, preprocessing, splits)
        dataset._splits, dataset._trained_on = splits, trained_on
        return dataset

    @cached_property
    def _files(self) -> dict[Split, Classes]:
        if self._split_files:
            found = read_split_files(self._split_files, self._root / "images", self._splits, self._left_out)
        elif has_split_folders(self._root):
            found = read_split_folders(self._root, self._splits, self._left_out)
        else:
            divided = self._divided(read_classes(self._root, self._left_out))
            found = {split: divided[split] for split in self._splits}
        check_disjoint(found, self._split_files or self._root)
        return found

    def _divided(self, classes: Classes) -> dict[Split, Classes]:
        known = {split: each.classes for split, each in self._trained_on.items()}
        as_before = divide_as_before(classes, known)
        if as_before:
            return as_before
        try:
            return divide(without(classes, known), self._root, *self._fractions, self._seed)
        except DataError as error:
            raise DataError(f"{error}{self._left_out.hint}{few_classes(self._root)}") from error

    def notices(self, *, way: int, shot: int, query: int, splits: Collection[Split] = SPLITS) -> list[str]:
        """What was left out besides, and whether small classes reduce the queries of all others."""
        notices = super().notices(way=way, shot=shot, query=query, splits=splits)
        return [*([f"{self._root}{self._left_out.hint}"] if self._left_out.hint else []), *notices]

    def _few_queries(self, shot: int, query: int, splits: Collection[Split]) -> list[str]:
        fewer = super()._few_queries(shot, query, splits)
        if any(n >= shot + query for split in splits for n in self.class_counts(split).values()):
            return [f"{line}; dataset.min_images={shot + query} leaves smaller classes out" for line in fewer]
        return fewer

    def check_episodes(self, split: Split, *, way: int, shot: int, way_key: str = "task.way") -> None:
        """As Dataset.check_episodes. The error also says what was left out, and how to use few classes."""
        try:
            super().check_episodes(split, way=way, shot=shot, way_key=way_key)
        except ConfigError as error:
            few = few_classes(self._root) if self.num_classes(split) < 2 else ""
            raise ConfigError(f"{error}{self._left_out.hint}{few}") from error

    def class_counts(self, split: Split) -> Mapping[str, int]:
        return {name: len(files) for name, files in self._files[split].items()}

    def _load(self, split: Split) -> Mapping[Split, ImageTable]:
        counts = self.class_counts(split)
        files = [file for images in self._files[split].values() for file in images]

        def build() -> ImageTable:
            """The table of all images, ordered by class and file name."""
            return ImageTable(self._reader.read(files), torch.tensor(list(counts.values())), tuple(counts))

        key = [asdict(self._reader), counts, stats(files)]
        return {split: cached_table(self._cache, f"image_folder-{split}", key, build)}

    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The exact mean and std of the train split's pixels. A histogram avoids a float copy of them."""
        values = torch.arange(256, dtype=torch.float64) / 255
        means, deviations = [], []
        for channel in self.table("train").images.unbind(1):
            histogram = sum(torch.bincount(part.flatten(), minlength=256) for part in channel.split(4096))
            weights = histogram / channel.numel()
            mean = (weights * values).sum()
            means.append(float(mean))
            deviations.append(max(float((weights * (values - mean).square()).sum().sqrt()), 1 / 255))
        return tuple(means), tuple(deviations)
