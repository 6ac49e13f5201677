"""Small tables whose pixels say which class and image they are."""

import torch

from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.episodes import ImageEpisodeSampler


def marked_table(counts: list[int], channels: int = 1, size: int = 4) -> ImageTable:
    """Pixel [0, 0] of every channel is the class, pixel [0, 1] the image within it; the rest is 7."""
    images = torch.full((sum(counts), channels, size, size), 7, dtype=torch.uint8)
    images[:, :, 0, 0] = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))[:, None]
    images[:, :, 0, 1] = torch.cat([torch.arange(n) for n in counts])[:, None]
    names = tuple(f"class {i}" for i in range(len(counts)))
    return ImageTable(images.contiguous(memory_format=torch.channels_last), torch.tensor(counts), names)


def sampler_of(
    table: ImageTable, way: int = 3, shot: int = 2, query: int = 4, seed: int = 0
) -> ImageEpisodeSampler:
    """A sampler of the train split whose images keep the pixels' values: mean 0, std 1 / 255."""
    channels = table.images.shape[1]
    return ImageEpisodeSampler(
        table,
        way=way,
        shot=shot,
        query=query,
        seed=seed,
        split="train",
        mean=(0.0,) * channels,
        std=(1 / 255,) * channels,
    )
