"""Draws episodes from an image table, for all tasks of a meta-batch at once, by index arithmetic."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nasmeta import seeding
from nasmeta.datasets.base import EpisodeSampler, ImageTable
from nasmeta.datasets.decode import scale_and_shift
from nasmeta.task import Split, TaskBatch

Indices = NDArray[np.int64]


def distinct(rng: np.random.Generator, population: Indices, draws: int) -> Indices:
    """Draws without replacement: `draws` distinct integers [..., draws] from [0, population).

    `population` has shape [...], and `draws` must not exceed the smallest population. Every ordered choice
    is equally likely. R. W. Floyd's algorithm (Bentley and Floyd, "Programming Pearls: A Sample of
    Brilliance", CACM 1987) draws the set in `draws` steps whatever the size of the population. Then the
    order is shuffled.
    """
    last = population[..., None] - draws + np.arange(draws)
    picks = rng.integers(0, last, endpoint=True)
    for j in range(1, draws):
        taken = (picks[..., :j] == picks[..., j, None]).any(axis=-1)
        picks[..., j] = np.where(taken, last[..., j], picks[..., j])
    return rng.permuted(picks, axis=-1)


class ImageEpisodeSampler(EpisodeSampler):
    """Draws tasks from a table whose images are already on the device.

    way: classes of a task, each with `shot` support and `query` query images. mean, std: of each channel.

    The indices are drawn on the host from `stream(seed, "episodes", split, iteration)`, so the episodes are
    the same on every device. They go to the device in one transfer. There the images are gathered and
    normalized to (x / 255 - mean) / std. Image tensors are channels_last in memory: for x [T, N, C, H, W] of
    a batch, x[t] has the strides (H*W*C, 1, W*C, C), also if C = 1.
    """

    def __init__(
        self,
        table: ImageTable,
        *,
        way: int,
        shot: int,
        query: int,
        seed: int,
        split: Split,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self._counts: Indices = table.counts.numpy()
        self._starts: Indices = np.cumsum(self._counts) - self._counts
        channels_last = table.images.permute(0, 2, 3, 1)
        self._image_shape = channels_last.shape[1:]  # (H, W, C)
        self._pixels = channels_last.reshape(len(table.images), -1)  # a view of a channels_last table
        device = table.images.device
        # One value for each pixel and channel, not one for each channel: short inner dimensions are slow
        # to broadcast.
        area = channels_last.shape[1:3].numel()
        self._scale, self._shift = (each.repeat(area).to(device) for each in scale_and_shift(mean, std))
        self._labels = torch.arange(way).to(device)
        self._way, self._shot, self._query = way, shot, query
        self._seed, self._split = seed, split

    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        """`tasks` tasks as TaskBatch describes them. Raises nothing and never waits for the device."""
        classes, examples = self._draw(iteration, tasks)
        support, query = examples[..., : self._shot], examples[..., self._shot :]
        host = torch.from_numpy(np.concatenate([classes.ravel(), support.ravel(), query.ravel()]))
        if self._pixels.is_cuda:
            host = host.pin_memory()
        indices = host.to(self._pixels.device, non_blocking=True)
        class_index, image_index = indices.split([classes.size, examples.size])
        pixels = self._pixels.index_select(0, image_index).float().mul_(self._scale).add_(self._shift)
        support_x, query_x = pixels.split([support.size, query.size])
        return TaskBatch(
            self._images(support_x, tasks),
            self._labels.repeat_interleave(self._shot).repeat(tasks, 1),
            self._images(query_x, tasks),
            self._labels.repeat_interleave(self._query).repeat(tasks, 1),
            class_index.view(tasks, self._way),
        )

    def _draw(self, iteration: int, tasks: int) -> tuple[Indices, Indices]:
        """Draws classes [T, way] and rows of the table [T, way, shot + query]."""
        rng = seeding.stream(self._seed, "episodes", self._split, iteration)
        classes = distinct(rng, np.full(tasks, len(self._counts)), self._way)
        examples = distinct(rng, self._counts[classes], self._shot + self._query)
        return classes, examples + self._starts[classes][..., None]

    def _images(self, pixels: Tensor, tasks: int) -> Tensor:
        """A view of pixels [T * N, H * W * C] as [T, N, C, H, W] in channels_last memory."""
        return pixels.view(tasks, -1, *self._image_shape).permute(0, 1, 4, 2, 3)
