"""Training of the relaxed network: its weights and its architecture descend in turn (DARTS, algorithm 1).

A meta-learner gives both losses: the query loss after adaptation (MAML, Reptile), or the episodic loss
(ProtoNet). The architecture's parameters are fixed during a task's inner loop. Weights see the tasks of even
iterations of the meta-training stream, and the architecture those of odd ones. These are the paper's two
halves of the training data.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from nasmeta.errors import Diverged
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.gradients import Gradients
from nasmeta.meta_learners.state import MetaState
from nasmeta.runtime import plain_optimizers
from nasmeta.search_spaces.relaxation.mixture import RelaxedNetwork
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.strategies.differentiable.bilevel import GradientAt, Parameters, first_order, second_order
from nasmeta.strategies.differentiable.guard import dominant_eigenvalue
from nasmeta.strategies.differentiable.sampling import Sampling
from nasmeta.task import TaskBatch
from nasmeta.training.cuda_graphs import Recorded, recorded_meta_gradient, records_training
from nasmeta.training.optimizers import descend, restore, set_rate
from nasmeta.training.problem import Problem

T = TypeVar("T")

CURVATURE_TASKS = 8
"""The fewest tasks over which the curvature of the validation loss is computed."""


@dataclass(frozen=True)
class ArchitectureOptimizer:
    """The optimizer of the architecture's parameters: Adam, or RMSProp with decay `beta2`."""

    kind: Literal["adam", "rmsprop"]
    lr: float
    beta1: float
    beta2: float
    weight_decay: float

    def make(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        if self.kind == "adam":
            betas = (self.beta1, self.beta2)
            return plain_optimizers.Adam(parameters, self.lr, betas=betas, weight_decay=self.weight_decay)
        return plain_optimizers.RMSprop(parameters, self.lr, alpha=self.beta2, weight_decay=self.weight_decay)


class BilevelTraining:
    """The alternating training: one iteration per `step`; `state_dict` holds all that later steps need.

    problem: its tasks, and the optimizer of the weights. relaxation: the form of the relaxed network.
    sampling: how its edges are weighted. optimizer: that of the architecture. unrolled: whether the
    architecture's gradient is of second order. iterations: in all, over which the temperature changes.
    """

    def __init__(
        self,
        problem: Problem,
        relaxation: Relaxation,
        sampling: Sampling,
        optimizer: ArchitectureOptimizer,
        *,
        unrolled: bool,
        iterations: int,
    ) -> None:
        self.problem, self.sampling = problem, sampling
        self.iterations, self.iteration = iterations, 0
        self.state = problem.relaxed_state(relaxation)
        network: Any = self.state.network.module
        self.network: RelaxedNetwork = network
        self.names = self.network.architecture_names
        self.state.inner_scale = dict.fromkeys(self.names, 0.0)
        self._weights = problem.optimizer.make(list(self.weights.values()))
        self._architecture = optimizer.make(list(self.alpha.values()))
        self._loss = torch.zeros(())
        learner = problem.learner
        # Steps of GDAS differ, since only the sampled operations are computed.
        recordable = sampling.kind == "softmax" and records_training(learner, self.state)
        of_architecture = partial(gradient_of_architecture, learner, self.names, unrolled)
        self._architecture_gradient = Recorded(self.state, of_architecture, recordable=recordable)
        self._weight_gradient = recorded_meta_gradient(learner, self.state, recordable=recordable)

    @property
    def alpha(self) -> Parameters:
        """The architecture's parameters."""
        return {name: self.state.parameters[name] for name in self.names}

    @property
    def weights(self) -> Parameters:
        """All other parameters."""
        return {n: p for n, p in self.state.parameters.items() if n not in self.names}

    def step(self) -> None:
        """The architecture's step, then the weights' (algorithm 1). Only sampling waits for the device."""
        rate = self.problem.optimizer.rate(self.iteration, self.iterations)
        phase = self.problem.learner.phase(self.iteration), self._temperature
        train, valid = self.batch(2 * self.iteration), self.batch(2 * self.iteration + 1)
        self._sample("architecture")
        tensors = [*train, *valid, torch.full((), rate, device=self.state.device)]
        slopes = self._retry_on_oom(lambda: self._architecture_gradient(tensors, self.iteration, phase))
        descend(self.alpha, slopes, self._architecture)
        self._sample("weights")
        gradients, metrics = self._retry_on_oom(lambda: self._weight_gradient(train, self.iteration, phase))
        set_rate(self._weights, rate)
        descend(self.weights, gradients, self._weights)
        self._loss = metrics["loss"]
        self.iteration += 1

    def batch(self, number: int) -> TaskBatch:
        """The meta-training tasks of iteration `number` of the stream."""
        return self.problem.train.batch(number, self.problem.meta_batch)

    def derive(self) -> Any:
        """The discrete architecture at this moment. Raises Diverged if the loss is not finite."""
        if not torch.isfinite(self._loss) or any(not a.isfinite().all() for a in self.alpha.values()):
            raise Diverged(f"the loss of the relaxed network is not finite at iteration {self.iteration}")
        return self.network.derive(self.alpha)

    def curvature(self, rng: np.random.Generator) -> float:
        """The dominant eigenvalue of d2 L_valid / dalpha2, on the first tasks that alpha was trained on.

        The same CURVATURE_TASKS are used every time: one task's eigenvalue changes sign from epoch to epoch.
        """
        self._sample("curvature")
        point = {name: value.detach() for name, value in self.state.parameters.items()}
        count = math.ceil(CURVATURE_TASKS / self.problem.meta_batch)
        batches = [self.batch(2 * i + 1) for i in range(count)]

        held = at(self.problem.learner.frozen_parameter_gradient, self.state, self.iteration)

        def on_one(alpha: Parameters, batch: TaskBatch) -> Parameters:
            return self._retry_on_oom(lambda: first_order(held, point | alpha, self.names, batch))

        def on_all(alpha: Parameters) -> Parameters:
            each = [on_one(alpha, batch) for batch in batches]
            return {name: torch.stack([gradient[name] for gradient in each]).mean(0) for name in alpha}

        return dominant_eigenvalue(on_all, {name: point[name] for name in self.names}, rng)

    def _retry_on_oom(self, gradients: Callable[[], T]) -> T:
        return self.problem.retry_relaxed_on_oom(self.state, gradients)

    @property
    def _temperature(self) -> float:
        return self.sampling.temperature(self.iteration / self.iterations)

    def _sample(self, purpose: str) -> None:
        self.sampling.set(self.network, self.alpha, self._temperature, purpose, self.iteration)

    def state_dict(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "loss": self._loss,
            "parameters": {name: p.detach() for name, p in self.state.parameters.items()},
            "weights": self._weights.state_dict(),
            "architecture": self._architecture.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.state.load(saved["parameters"], {})
        restore(self._weights, saved["weights"])
        restore(self._architecture, saved["architecture"])
        self.iteration, self._loss = saved["iteration"], saved["loss"]


def gradient_of_architecture(
    learner: MetaLearner,
    alpha: Sequence[str],
    unrolled: bool,
    state: MetaState,
    tensors: Sequence[Tensor],
    iteration: int,
) -> Parameters:
    """dL_valid/dalpha for the parameters named `alpha` (bilevel.py), in a form that a CUDA graph can record.

    unrolled: whether it is of second order. tensors: the training tasks and the validation tasks, each as in
    TaskBatch, and the learning rate of the weights [].
    """
    size = len(TaskBatch._fields)
    train, valid, rate = TaskBatch(*tensors[:size]), TaskBatch(*tensors[size:-1]), tensors[-1]
    point = {name: value.detach() for name, value in state.parameters.items()}
    if unrolled:
        return second_order(at(learner.meta_gradient, state, iteration), point, alpha, train, valid, rate)
    # The inner loop leaves the architecture alone.
    return first_order(at(learner.frozen_parameter_gradient, state, iteration), point, alpha, valid)


def at(
    gradient: Callable[[MetaState, TaskBatch, int], Gradients], state: MetaState, iteration: int
) -> GradientAt[TaskBatch]:
    """A meta-learner's gradient as a function of all parameters of `state`, and of the tasks."""

    def gradient_at(point: Parameters, batch: TaskBatch) -> Parameters:
        leaves = {name: value.requires_grad_() for name, value in point.items()}
        return gradient(replace(state, parameters=leaves), batch, iteration)[0]

    return gradient_at
