"""The outer loop that all meta-learners share."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nasmeta.datasets.base import EpisodeSampler
from nasmeta.errors import Diverged
from nasmeta.meta_learners.base import Gradients, MetaLearner, MetaState, adopt_population
from nasmeta.task import TaskBatch
from nasmeta.training.cuda_graphs import recorded_meta_gradient
from nasmeta.training.optimizers import OuterOptimizer

POPULATION_BATCHES = 8
"""Meta-batches whose moments make the population statistics of `running`."""


def population_batches(sampler: EpisodeSampler, first: int, meta_batch: int) -> Iterator[TaskBatch]:
    """The meta-batches from iteration `first` on, which a training of `first` iterations has not seen."""
    return (sampler.batch(first + i, meta_batch) for i in range(POPULATION_BATCHES))


@dataclass(frozen=True)
class Progress:
    """Means over the meta-iterations since the last reading; accuracy is None for regression."""

    iteration: int
    loss: float
    accuracy: float | None


class MetaTraining:
    """Meta-training of one network, one meta-iteration a `step`.

    `state_dict` holds all that decides the rest: episodes are a function of the iteration, so a
    restored training goes on as if it had never stopped, also with more iterations than it had. The
    learning rate follows the schedule over `horizon` meta-iterations (None: `iterations`), so that a
    training of fewer iterations is the beginning of a longer one whatever the schedule.
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
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._meta_gradient = recorded_meta_gradient(learner, state)

    @property
    def done(self) -> bool:
        return self.iteration >= self.iterations

    def step(self) -> None:
        """One meta-iteration. Never waits for the device."""
        self.step_on(self.sampler.batch(self.iteration, self.meta_batch))

    def step_on(self, batch: TaskBatch) -> None:
        """One meta-iteration on tasks that are drawn already."""
        gradients, metrics = self.gradients(batch)
        for name, parameter in self.state.parameters.items():
            parameter.grad = gradients.get(name)
        for group in self._optimizer.param_groups:
            group["lr"] = self._outer.rate(self.iteration, self.horizon) * group.get("scale", 1.0)
        self._optimizer.step()
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._summed += 1
        self.iteration += 1

    def gradients(self, batch: TaskBatch) -> Gradients:
        """The direction to descend; parameters that have none stay as they are."""
        return self._meta_gradient(batch, self.iteration, self.learner.phase(self.iteration))

    def read(self) -> Progress:
        """The mean metrics since the last reading. Waits for the device.

        Raises Diverged where the loss is NaN or infinite.
        """
        means = {name: float(total) / max(self._summed, 1) for name, total in self._sums.items()}
        self._sums, self._summed = {}, 0
        loss = means.get("loss", math.nan)
        if not math.isfinite(loss):
            raise Diverged(f"the meta-training loss is {loss} at iteration {self.iteration}")
        return Progress(self.iteration, loss, means.get("accuracy"))

    def finish(self) -> None:
        """Sets what is computed once training is over: the population statistics of `running`."""
        unseen = population_batches(self.sampler, self.iterations, self.meta_batch)
        adopt_population(self.learner, self.state, unseen)

    def state_dict(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "parameters": {name: p.detach() for name, p in self.state.parameters.items()},
            "optimizer": self._optimizer.state_dict(),
            "sums": dict(self._sums),
            "summed": self._summed,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Raises KeyError, ValueError or RuntimeError where `saved` is of another network or optimizer."""
        self.state.load(saved["parameters"], {})
        self._optimizer.load_state_dict(saved["optimizer"])
        self.iteration, self._summed = saved["iteration"], saved["summed"]
        device = self._parameters[0].device
        self._sums = {name: value.to(device) for name, value in saved["sums"].items()}


def _groups(state: MetaState) -> list[Tensor] | list[dict[str, Any]]:
    """All parameters, or a group for each factor of the learning rate where there are several."""
    if not state.outer_scale:
        return list(state.parameters.values())
    scales = {name: state.outer_scale.get(name, 1.0) for name in state.parameters}
    return [
        {"params": [p for n, p in state.parameters.items() if scales[n] == scale], "scale": scale}
        for scale in dict.fromkeys(scales.values())
    ]
