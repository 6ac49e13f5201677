"""The outer loop that all meta-learners share."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from nasmeta.datasets.base import EpisodeSampler
from nasmeta.errors import Diverged
from nasmeta.meta_learners.base import MetaLearner, adopt_population
from nasmeta.meta_learners.gradients import Gradients
from nasmeta.meta_learners.state import MetaState
from nasmeta.task import TaskBatch
from nasmeta.training.cuda_graphs import recorded_meta_gradient, recorded_meta_step
from nasmeta.training.optimizers import OuterOptimizer, descend, restore, set_rate

POPULATION_BATCHES = 8
"""The number of meta-batches whose moments make the population statistics of `running`."""


def population_batches(sampler: EpisodeSampler, first: int, meta_batch: int) -> Iterator[TaskBatch]:
    """Meta-batches from iteration `first` on, which a training of `first` iterations has not seen.

    Their images are not augmented, since those that will be normalized by the statistics are not either.
    """
    return (sampler.unaugmented.batch(first + i, meta_batch) for i in range(POPULATION_BATCHES))


LATE = 0.25
"""The last share of a training over which `late_loss` is averaged."""

BLOCK = 1024
"""Meta-iterations by which the memory for metrics grows."""


ReadingOf = Literal["train", "judged"]
"""What loss and accuracy are of: the training tasks, or the tasks that iterates are judged on (keep=best)."""


@dataclass(frozen=True)
class Reading:
    """A reading of a training, at an iteration; accuracy is None for regression.

    Of the training tasks, loss and accuracy are means over the meta-iterations since the last `read`.
    """

    iteration: int
    loss: float
    accuracy: float | None
    of: ReadingOf = "train"


class MetaTraining:
    """Meta-training of one network; each `step` is one meta-iteration.

    learner: gives the gradients. state: what is trained. sampler: draws the tasks. optimizer: the outer one.
    iterations: meta-iterations in all. meta_batch: tasks in each.
    horizon: the meta-iterations over which the learning rate follows its schedule (None: `iterations`). With
    one horizon, a training of fewer iterations is the beginning of a longer one, whatever the schedule.

    `state_dict` holds everything that decides the rest, because episodes are a function of the iteration. A
    restored training continues as if it had never stopped, even if it now has more iterations.
    """

    def __init__(
        self,
        learner: MetaLearner,
        state: MetaState,
        sampler: EpisodeSampler,
        optimizer: OuterOptimizer,
        *,
        iterations: int,
        meta_batch: int,
        horizon: int | None = None,
    ) -> None:
        self.learner, self.state, self.sampler = learner, state, sampler
        self.horizon = iterations if horizon is None else horizon
        self.iterations, self.meta_batch = iterations, meta_batch
        self.iteration = 0
        self._outer = optimizer
        self._parameters = list(state.parameters.values())
        self._optimizer = optimizer.make(_groups(state))
        self._metrics: dict[str, Tensor] = {}  # each metric's value at every meta-iteration, on the device
        self._read = 0
        self._meta_gradient = recorded_meta_gradient(learner, state)
        self._meta_step = recorded_meta_step(learner, state, self._optimizer)

    @property
    def open_ended(self) -> bool:
        """Whether the iterations so far would be the same with another horizon."""
        return self._outer.open_ended

    @property
    def done(self) -> bool:
        """Whether all meta-iterations are done."""
        return self.iteration >= self.iterations

    def step(self) -> None:
        """Does one meta-iteration. Never waits for the device."""
        self.step_on(self.sampler.batch(self.iteration, self.meta_batch))

    def step_on(self, batch: TaskBatch) -> None:
        """Does one meta-iteration on tasks that are drawn already. Never waits for the device."""
        set_rate(self._optimizer, self._outer.rate(self.iteration, self.horizon))
        if self._meta_step is not None:
            metrics = self._meta_step(batch, self.iteration, self.learner.phase(self.iteration))
        else:
            gradients, metrics = self.gradients(batch)
            descend(self.state.parameters, gradients, self._optimizer)
        for name, value in metrics.items():
            row = self._metrics.get(name, value.new_empty(0))
            if len(row) == self.iteration:
                row = torch.cat([row, row.new_empty(BLOCK)])
            row[self.iteration] = value
            self._metrics[name] = row
        self.iteration += 1

    def gradients(self, batch: TaskBatch) -> Gradients:
        """The gradients to descend, and metrics; a parameter without a gradient stays as it is."""
        return self._meta_gradient(batch, self.iteration, self.learner.phase(self.iteration))

    def read(self) -> Reading:
        """The mean metrics since the last `read`. Waits for the device.

        Raises Diverged if the loss is NaN or infinite.
        """
        means = {name: self._mean(name, self._read) for name in self._metrics}
        self._read = self.iteration
        loss = means.get("loss", math.nan)
        if not math.isfinite(loss):
            raise Diverged(f"the meta-training loss is {loss} at iteration {self.iteration}")
        return Reading(self.iteration, loss, means.get("accuracy"))

    def late_loss(self) -> float:
        """The mean training loss over the last LATE of the meta-iterations so far. Waits for the device.

        It is the training-speed estimate TSE-E of Ru et al. (2021, arXiv:2006.04492), as a mean instead of a
        sum so that budgets compare, and with E a share of the training.
        """
        return self._mean("loss", math.floor((1 - LATE) * self.iteration))

    def _mean(self, name: str, first: int) -> float:
        """The mean of a metric from iteration `first` on; NaN if there is none."""
        return float(self._metrics[name][first : self.iteration].mean())

    def finish(self) -> None:
        """Computes the population statistics of `running`, once training is over."""
        unseen = population_batches(self.sampler, self.iterations, self.meta_batch)
        adopt_population(self.learner, self.state, unseen)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to continue the training: tensors and plain values."""
        return {
            "iteration": self.iteration,
            "parameters": {name: p.detach() for name, p in self.state.parameters.items()},
            "optimizer": self._optimizer.state_dict(),
            "metrics": {name: row[: self.iteration].clone() for name, row in self._metrics.items()},
            "read": self._read,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores `state_dict`; raises KeyError, ValueError or RuntimeError if it does not fit."""
        self.state.load(saved["parameters"], {})
        restore(self._optimizer, saved["optimizer"])  # with new tensors, which a recorded step does not know
        self._meta_step = recorded_meta_step(self.learner, self.state, self._optimizer)
        self.iteration, self._read = saved["iteration"], saved["read"]
        device = self._parameters[0].device
        self._metrics = {name: row.to(device) for name, row in saved["metrics"].items()}


def _groups(state: MetaState) -> list[Tensor] | list[dict[str, Any]]:
    """All parameters, or one group for each factor of the learning rate if there are factors."""
    if not state.outer_scale:
        return list(state.parameters.values())
    scales = {name: state.outer_scale.get(name, 1.0) for name in state.parameters}
    return [
        {"params": [p for n, p in state.parameters.items() if scales[n] == scale], "scale": scale}
        for scale in dict.fromkeys(scales.values())
    ]
