"""The base class of image datasets. It loads tables once, moves them to a device once, and checks tasks."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, Self

import torch

from nasmeta.datasets.base import Dataset, ImageTable
from nasmeta.datasets.contents import Contents, SplitContents
from nasmeta.datasets.decode import ImageReader, Preprocessing
from nasmeta.datasets.episodes import ImageEpisodeSampler
from nasmeta.task import Split


class ImageDataset(Dataset):
    """Classification of images that an ImageReader reads, with its `channels`, `size` and `glyph`.

    A subclass counts its classes without decoding images, and loads its tables on demand.
    """

    kind = "classification"

    def __init__(self, *, channels: int, size: int, glyph: bool) -> None:
        self.input_shape = (channels, size, size)
        self._reader = ImageReader(channels, size, glyph)
        self._tables: dict[Split, ImageTable] = {}
        self._on_device: dict[tuple[Split, torch.device], ImageTable] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: the tables on the host. Another process may have other devices."""
        return {**vars(self), "_on_device": {}}

    @abstractmethod
    def class_counts(self, split: Split) -> Mapping[str, int]:
        """The number of images of each class by its name, in the order of the table. Decodes nothing."""

    @abstractmethod
    def _load(self, split: Split) -> Mapping[Split, ImageTable]:
        """The table of `split`, and those of other splits if they are loaded together."""

    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std of each channel, for pixels in [0, 1]. The default leaves ink on black as it is."""
        return (0.0,), (1.0,)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How image files become this dataset's inputs; stored with a model, to predict with it."""
        mean, std = self._statistics()
        return Preprocessing(**asdict(self._reader), mean=mean, std=std)

    def as_trained(
        self, trained_on: Contents, preprocessing: Preprocessing | None, splits: Collection[Split]
    ) -> Self:
        """As Dataset.as_trained; returns a copy."""
        dataset = copy(self)
        dataset._tables, dataset._on_device = {}, {}
        if preprocessing is not None:
            dataset.preprocessing = preprocessing
            dataset._reader = replace(self._reader, glyph=preprocessing.glyph)
        return dataset

    def num_classes(self, split: Split) -> int:
        return len(self.class_counts(split))

    def examples_per_class(self, split: Split) -> int:
        return min(self.class_counts(split).values(), default=0)

    def contents(self, split: Split) -> SplitContents:
        """The names of the classes, the number of images, and a checksum of all pixels. Loads the split."""
        table = self.table(split)
        return SplitContents(table.names, len(table.images), f"{table.checksum:08x}")

    def table(self, split: Split) -> ImageTable:
        """The images of a split in host memory, loaded on first use."""
        if split not in self._tables:
            self._tables.update(self._load(split))
        return self._tables[split]

    def sampler(
        self, split: Split, *, way: int, shot: int, query: int, seed: int, device: torch.device
    ) -> ImageEpisodeSampler:
        """As Dataset.sampler, with as many queries as `queries` says.

        Raises ConfigError if the split is too small for such tasks.
        """
        self.check_episodes(split, way=way, shot=shot)
        device = torch.empty(0, device=device).device  # "cuda" and "cuda:0" are one device
        if (split, device) not in self._on_device:
            self._on_device[split, device] = self.table(split).to(device)
        return ImageEpisodeSampler(
            self._on_device[split, device],
            way=way,
            shot=shot,
            query=self.queries(split, shot=shot, query=query),
            seed=seed,
            split=split,
            mean=self.preprocessing.mean,
            std=self.preprocessing.std,
        )
