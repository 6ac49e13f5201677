"""The contracts of a dataset and of an episode sampler."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from nasmeta.task import Kind, Split, TaskBatch, TaskSpec


class EpisodeSampler(ABC):
    """Draws tasks of one split, of one way, shot and query."""

    @abstractmethod
    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        """`tasks` tasks on the sampler's device: a pure function of (seed, split, iteration, tasks)."""


class Dataset(ABC):
    """Constructing one is cheap and checks what it can (a missing root); loading happens in `sampler`.

    `kind` and `input_shape` describe its tasks as in TaskSpec.
    """

    kind: Kind
    input_shape: tuple[int, ...]

    @abstractmethod
    def num_classes(self, split: Split) -> int | None:
        """The number of classes of a split, without decoding an image; None where tasks have no classes."""

    @abstractmethod
    def examples_per_class(self, split: Split) -> int | None:
        """The smallest number of examples any class of the split has; None where there is no limit."""

    @abstractmethod
    def sampler(
        self, split: Split, *, way: int, shot: int, query: int, seed: int, device: torch.device
    ) -> EpisodeSampler:
        """The episode sampler of a split, its data on `device`; samplers of one split share the data."""

    def task_spec(self, way: int) -> TaskSpec:
        """The interface a network for `way`-way tasks of this dataset must have."""
        return TaskSpec(self.kind, self.input_shape, way, self.num_classes("train") or 0)


@dataclass(frozen=True)
class ImageTable:
    """The images of one split, ordered by class.

    images [n, C, H, W] uint8; counts [classes] int64, the number of images of each class; names of the
    classes, unique.
    """

    images: Tensor
    counts: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if int(self.counts.sum()) != len(self.images) or len(self.counts) != len(self.names):
            raise ValueError("ImageTable: counts, names and images disagree")
