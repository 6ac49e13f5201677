"""Sine waves of random amplitude and phase: the regression tasks of the MAML paper.

Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017,
section 5.1.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from nasmeta import seeding
from nasmeta.datasets.base import Dataset, EpisodeSampler
from nasmeta.datasets.contents import SplitContents, fingerprint
from nasmeta.errors import ConfigError
from nasmeta.task import Split, TaskBatch, TaskSpec

Ranges = dict[str, tuple[float, float]]
"""The lowest and highest "amplitude", "phase" (in radians) and "x"."""


class Sinusoid(Dataset):
    """Tasks y = amplitude * sin(x - phase), with amplitude, phase and x uniform in their ranges.

    Amplitudes are in [`amplitude_min`, `amplitude_max`], x in [`x_min`, `x_max`], and phases in [0,
    `phase_max`] radians. A task has `shot` support points, `query` query points and one
    output. `task.way` does not count, since a regression has no classes. The splits are different draws from
    the same distribution, as in the paper.
    """

    kind = "regression"
    input_shape = (1,)

    def __init__(
        self,
        *,
        amplitude_min: float,
        amplitude_max: float,
        phase_max: Annotated[float, Field(ge=0)],
        x_min: float,
        x_max: float,
    ) -> None:
        for name, low, high in (("amplitude", amplitude_min, amplitude_max), ("x", x_min, x_max)):
            if low > high:
                raise ConfigError(
                    f"dataset.{name}_min: {low!r} is above dataset.{name}_max {high!r}; swap them"
                )
        amplitude, phase, x = (amplitude_min, amplitude_max), (0.0, phase_max), (x_min, x_max)
        self._ranges: Ranges = {"amplitude": amplitude, "phase": phase, "x": x}

    def num_classes(self, split: Split) -> None:
        return None

    def examples_per_class(self, split: Split) -> None:
        return None

    def contents(self, split: Split) -> SplitContents:
        """A fingerprint of the ranges; there are no classes and no images."""
        return SplitContents(classes=(), images=None, fingerprint=fingerprint([split, self._ranges]))

    def task_spec(self, way: int) -> TaskSpec:
        """One output; `way` is ignored."""
        return TaskSpec(self.kind, self.input_shape, outputs=1)

    def sampler(
        self, split: Split, *, way: int, shot: int, query: int, seed: int, device: torch.device
    ) -> "SinusoidSampler":
        """As Dataset.sampler; `way` is ignored."""
        return SinusoidSampler(self._ranges, shot=shot, query=query, seed=seed, split=split, device=device)


class SinusoidSampler(EpisodeSampler):
    """Draws sine waves from `stream(seed, "episodes", split, iteration)`, on the host in float64.

    ranges: those of the dataset. shot, query: points of a task. device: where batches go.
    """

    def __init__(
        self, ranges: Ranges, *, shot: int, query: int, seed: int, split: Split, device: torch.device
    ) -> None:
        self._ranges, self._shot, self._query = ranges, shot, query
        self._seed, self._split, self._device = seed, split, device

    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        """support_x, support_y [T, shot, 1] and query_x, query_y [T, query, 1] float32; classes [T, 0]."""
        rng = seeding.stream(self._seed, "episodes", self._split, iteration)
        amplitude = rng.uniform(*self._ranges["amplitude"], (tasks, 1))
        phase = rng.uniform(*self._ranges["phase"], (tasks, 1))
        x = rng.uniform(*self._ranges["x"], (tasks, self._shot + self._query))
        both = torch.from_numpy(np.stack([x, amplitude * np.sin(x - phase)])).float()
        both = both.unsqueeze(-1).to(self._device, non_blocking=True)
        support_x, support_y = both[:, :, : self._shot].unbind()
        query_x, query_y = both[:, :, self._shot :].unbind()
        classes = torch.empty(tasks, 0, dtype=torch.int64, device=self._device)
        return TaskBatch(support_x, support_y, query_x, query_y, classes)
