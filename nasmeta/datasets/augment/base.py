"""The contract of an augmentation, and the sampler that applies one to every meta-batch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nasmeta import seeding
from nasmeta.datasets.base import EpisodeSampler
from nasmeta.datasets.decode import Preprocessing
from nasmeta.errors import ConfigError
from nasmeta.task import TaskBatch, TaskSpec


class Draws:
    """Random numbers from `rng`, drawn on the host so that they are the same on every device."""

    def __init__(self, rng: np.random.Generator, device: torch.device) -> None:
        self._rng, self._device = rng, device

    def uniform(self, low: float, high: float, shape: Sequence[int]) -> Tensor:
        """Float32 numbers in [low, high) of `shape` on the device. Never waits for the device."""
        numbers = torch.from_numpy(self._rng.uniform(low, high, tuple(shape)).astype(np.float32))
        if self._device.type == "cuda":
            numbers = numbers.pin_memory()
        return numbers.to(self._device, non_blocking=True)


class Augmentation(ABC):
    """The base class of augmentations. Support and query images are changed alike; labels stay."""

    makes_classes = False
    """Whether changed images may be of a new class."""

    def check(self, task: TaskSpec) -> None:
        """Raises ConfigError if inputs of `task` cannot be augmented: by default, if they are no images."""
        if len(task.input_shape) != 3:
            raise ConfigError(
                f"augment: {type(self).__name__} changes images, and an input of these tasks has the shape "
                f"{list(task.input_shape)}; use augment=none"
            )

    @abstractmethod
    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The changed images, of the same shape; `images` stays as it is. Never waits for the device.

        images: [T, way, n, C, H, W] float32 in [0, 1], where images[t, k] are the n images of one class of
        task t, its shots first.
        """

    def augmented(
        self, sampler: EpisodeSampler, preprocessing: Preprocessing | None, seed: int
    ) -> EpisodeSampler:
        """A sampler of the same tasks with changed images. `preprocessing` says how they are normalized."""
        return AugmentedSampler(sampler, self, preprocessing, seed)


class AugmentedSampler(EpisodeSampler):
    """Draws the tasks of `sampler` and changes their images, for all tasks of a batch at once.

    The random numbers come from `stream(seed, "augment", iteration)`. So a batch stays a pure function of its
    arguments, and a resumed training sees the same images. As with every sampler, image tensors are
    channels_last in memory.
    """

    def __init__(
        self, sampler: EpisodeSampler, augment: Augmentation, preprocessing: Preprocessing | None, seed: int
    ) -> None:
        self._sampler, self._augment, self._seed = sampler, augment, seed
        mean, std = (preprocessing.mean, preprocessing.std) if preprocessing else ((0.0,), (1.0,))
        self._mean, self._std = (torch.tensor(values)[:, None, None] for values in (mean, std))

    @property
    def unaugmented(self) -> EpisodeSampler:
        return self._sampler

    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        batch = self._sampler.batch(iteration, tasks)
        device, way = batch.support_x.device, batch.classes.shape[1]
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        draws = Draws(seeding.stream(self._seed, "augment", iteration), device)
        parts = [inputs.unflatten(1, (way, -1)) for inputs in (batch.support_x, batch.query_x)]
        images = torch.cat(parts, dim=2).mul_(self._std).add_(self._mean)
        images = (self._augment.apply(images, draws) - self._mean) / self._std
        support, query = images.split([part.shape[2] for part in parts], dim=2)
        return batch._replace(support_x=_episode(support), query_x=_episode(query))


def _episode(images: Tensor) -> Tensor:
    """Images [T, way, n, C, H, W] as [T, way * n, C, H, W] in channels_last memory, also if C = 1."""
    tasks, way, n, channels, height, width = images.shape
    pixels = images.permute(0, 1, 2, 4, 5, 3).flatten()
    return pixels.view(tasks, way * n, height, width, channels).permute(0, 1, 4, 2, 3)
