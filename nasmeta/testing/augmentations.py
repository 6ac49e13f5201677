"""What every augmentation must do, as checks of one that is made already."""

import numpy as np
import torch
from torch import Tensor

from nasmeta import seeding
from nasmeta.datasets.augment.base import Augmentation, AugmentedSampler, Draws
from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.decode import Preprocessing
from nasmeta.datasets.episodes import ImageEpisodeSampler

WAY, SHOT, QUERY, TASKS = 3, 2, 4, 2


def images(channels: int, height: int = 12, width: int = 12) -> Tensor:
    """Images [TASKS, WAY, SHOT + QUERY, channels, height, width] of random pixels."""
    shape = (TASKS, WAY, SHOT + QUERY, channels, height, width)
    return torch.from_numpy(seeding.stream(0, "images").random(shape, np.float32))


def draws(number: int = 0, device: str = "cpu") -> Draws:
    return Draws(seeding.stream(0, "augment", number), torch.device(device))


def sampler(channels: int, device: str = "cpu") -> ImageEpisodeSampler:
    """Draws episodes from 5 classes of 8 random images, normalized with mean 0.4 and std 0.3."""
    pixels = seeding.stream(0, "table").integers(0, 256, (5 * 8, channels, 12, 12), np.uint8)
    names = tuple("abcde")
    table = ImageTable(torch.from_numpy(pixels), torch.full((5,), 8), names).to(torch.device(device))
    moments = {"mean": (0.4,) * channels, "std": (0.3,) * channels}
    return ImageEpisodeSampler(table, way=WAY, shot=SHOT, query=QUERY, seed=0, split="train", **moments)


def check_images(augment: Augmentation, channels: int) -> None:
    """It gives images in [0, 1] of the same shape, and leaves those that it is given."""
    for shape in ((12, 12), (10, 14)):
        given = images(channels, *shape)
        before = given.clone()
        changed = augment.apply(given, draws())
        assert changed.shape == given.shape
        assert changed.dtype == torch.float32
        assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
        assert torch.equal(given, before)


def check_draws(augment: Augmentation, channels: int) -> None:
    """The same draws give the same images to the bit; others give others, if it changes any."""
    given = images(channels)
    first, again, other = (augment.apply(given, draws(number)) for number in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, given) or not torch.equal(first, other)


def check_uniform_images(augment: Augmentation, channels: int) -> None:
    """An image of one colour stays one of one colour: there is no frame of another colour around it."""
    for value in (0.0, 0.5, 1.0):
        changed = augment.apply(torch.full((TASKS, WAY, SHOT + QUERY, channels, 12, 12), value), draws())
        assert (changed - changed[..., :1, :1]).abs().max() < 1e-5


def check_device(augment: Augmentation, channels: int) -> None:
    """It leaves no tensor on the CPU and reads no value on the host: the meta device has none."""
    assert augment.apply(images(channels).to("meta"), draws(device="meta")).is_meta


def check_sampler(augment: Augmentation, channels: int) -> None:
    """Its sampler repeats a batch to the bit, keeps labels and classes, and keeps images channels_last."""
    plain = sampler(channels)
    preprocessing = Preprocessing(channels, 12, False, (0.4,) * channels, (0.3,) * channels)
    augmented = augment.augmented(plain, preprocessing, seed=0)
    assert augmented.unaugmented is plain
    first, other, again = (augmented.batch(iteration, TASKS) for iteration in (3, 4, 3))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.query_x, other.query_x)
    expected = plain.batch(3, TASKS)
    for name in ("support_y", "query_y", "classes"):
        assert torch.equal(getattr(first, name), getattr(expected, name))
    for name in ("support_x", "query_x"):
        assert getattr(first, name).shape == getattr(expected, name).shape
        assert getattr(first, name).stride() == getattr(expected, name).stride()
    if isinstance(augmented, AugmentedSampler):
        there = augment.augmented(sampler(channels, "meta"), preprocessing, seed=0)
        assert there.batch(0, TASKS).query_x.is_meta
