"""The contracts of a dataset and of an episode sampler."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import torch
from torch import Tensor

from nasmeta.datasets.contents import Contents, SplitContents
from nasmeta.datasets.decode import Preprocessing
from nasmeta.errors import ConfigError
from nasmeta.task import SPLITS, Kind, Split, TaskBatch, TaskSpec

FINGERPRINT_TASKS = 20
"""How many tasks the default fingerprint of a dataset is computed from."""


class EpisodeSampler(ABC):
    """Draws tasks of one split, with a fixed way, shot and query."""

    @abstractmethod
    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        """`tasks` tasks on the sampler's device. A pure function of (seed, split, iteration, tasks)."""

    @property
    def unaugmented(self) -> "EpisodeSampler":
        """The sampler of the same tasks with images as they are."""
        return self


class Dataset(ABC):
    """The base class of datasets. `kind` and `input_shape` describe the tasks as in TaskSpec.

    The constructor is cheap and checks what it can, such as a missing root. `sampler` loads the data.
    """

    kind: Kind
    input_shape: tuple[int, ...]

    @abstractmethod
    def num_classes(self, split: Split) -> int | None:
        """The number of classes of a split; None if tasks have no classes. Decodes no image."""

    @abstractmethod
    def examples_per_class(self, split: Split) -> int | None:
        """The number of examples of the split's smallest class; None if there is no limit."""

    def queries(self, split: Split, *, shot: int, query: int) -> int:
        """How many query examples each class has in the tasks of a split.

        That is `query`, or fewer if the smallest class has fewer examples besides `shot`; at least 1.
        """
        examples = self.examples_per_class(split)
        return query if examples is None else max(1, min(query, examples - shot))

    def notices(self, *, way: int, shot: int, query: int, splits: Collection[Split] = SPLITS) -> list[str]:
        """Lines that a user should read before tasks are drawn from `splits`."""
        return [*self._few_classes(way, splits), *self._few_queries(shot, query, splits)]

    def _few_classes(self, way: int, splits: Collection[Split]) -> list[str]:
        """A line for each split to judge by whose tasks are nearly all of the same classes."""
        counts = {split: self.num_classes(split) for split in splits if split != "train"}
        return [
            f"the {split} split has {classes} classes, of which a task takes {way}, so an interval over its "
            "tasks says nothing of other classes; take a smaller task.way, or more classes"
            for split, classes in counts.items()
            if classes is not None and classes < 2 * way
        ]

    def _few_queries(self, shot: int, query: int, splits: Collection[Split]) -> list[str]:
        number = {split: self.queries(split, shot=shot, query=query) for split in splits}
        fewer = ", ".join(f"{n} in {split}" for split, n in number.items() if n < query)
        if not fewer:
            return []
        few = "the smallest class has fewer images besides its shots"
        return [f"task.query={query}: {few}; queries used: {fewer}"]

    def check_episodes(self, split: Split, *, way: int, shot: int, way_key: str = "task.way") -> None:
        """Raises ConfigError if the split is too small for such tasks; `way_key` is the key of `way`."""
        classes, examples = self.num_classes(split), self.examples_per_class(split)
        if classes is not None and way > classes:
            most = f"at most {classes}: {way_key}={classes}" if classes > 1 else "a task needs at least 2"
            raise ConfigError(f"{way_key}: {way} classes a task, but the {split} split has {classes}; {most}")
        if examples is not None and shot >= examples:
            remedy = f"type task.shot={examples - 1}" if examples > 1 else "a class needs at least 2"
            raise ConfigError(
                f"task.shot: {shot} images of a class and one query, but a class of the {split} split has "
                f"{examples}; {remedy}"
            )

    @abstractmethod
    def sampler(
        self, split: Split, *, way: int, shot: int, query: int, seed: int, device: torch.device
    ) -> EpisodeSampler:
        """The episode sampler of a split, with its data on `device`. Samplers of one split share the data."""

    def contents(self, split: Split) -> SplitContents:
        """What data the split holds, for a run to record and compare. May load the split.

        By default the fingerprint is a checksum of the first tasks, in which most changes show.
        """
        way = min(self.num_classes(split) or 2, 5)
        sampler = self.sampler(split, way=way, shot=1, query=1, seed=0, device=torch.device("cpu"))
        checksum = 0
        for part in sampler.batch(0, FINGERPRINT_TASKS):
            checksum = crc32(part.cpu().numpy().tobytes(), checksum)
        return SplitContents(classes=(), images=None, fingerprint=f"{checksum:08x}")

    def as_trained(
        self, trained_on: Contents, preprocessing: Preprocessing | None, splits: Collection[Split]
    ) -> "Dataset":
        """This dataset, adapted to a network that was meta-trained on `trained_on`. Call it before use.

        Only `splits` will be read; the others need not exist. Inputs are prepared by `preprocessing`, as
        they were for the network. Classes of `trained_on` stay in their splits, unless folders or files
        assign the splits. By default there is nothing to adapt.
        """
        return self

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How files become this dataset's inputs, to store with a model; None if inputs are not images."""
        return None

    def task_spec(self, way: int) -> TaskSpec:
        """The interface that a network for `way`-way tasks of this dataset must have."""
        return TaskSpec(self.kind, self.input_shape, way, self.num_classes("train") or 0)


@dataclass(frozen=True)
class ImageTable:
    """The images of one split, ordered by class.

    images: [n, C, H, W] uint8 on any device, best in channels_last memory. counts: [classes] int64 on the
    host, the number of images of each class. names: the names of the classes, unique.
    """

    images: Tensor
    counts: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if int(self.counts.sum()) != len(self.images) or len(self.counts) != len(self.names):
            raise ValueError("ImageTable: counts, names and images disagree")

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of the pixels and the counts. It is equal for equal images in equal order."""
        pixels = self.images.permute(0, 2, 3, 1).contiguous()
        return crc32(self.counts.numpy().tobytes(), crc32(pixels.numpy().data))

    def to(self, device: torch.device) -> "ImageTable":
        """The same table with its images on `device` in channels_last memory. Copies only if needed."""
        images = self.images.to(device).contiguous(memory_format=torch.channels_last)
        return ImageTable(images, self.counts, self.names)

    def classes(self, first: int, last: int) -> "ImageTable":
        """A view of the table with the classes first to last - 1."""
        start, stop = int(self.counts[:first].sum()), int(self.counts[:last].sum())
        return ImageTable(self.images[start:stop], self.counts[first:last], self.names[first:last])
