"""Training of the relaxed network: its weights and its architecture descend in turn (DARTS, algorithm 1).

A meta-learner gives both losses: the query loss after adaptation (MAML, Reptile), or the episodic loss
(ProtoNet). The architecture's parameters are fixed during a task's inner loop. Weights see the tasks of even
iterations of the meta-training stream, and the architecture those of odd ones. These are the paper's two
halves of the training data.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from nasmeta.errors import Diverged
from nasmeta.search_spaces.relaxation.mixture import RelaxedNetwork
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.strategies.differentiable.bilevel import Parameters, first_order, second_order
from nasmeta.strategies.differentiable.guard import dominant_eigenvalue
from nasmeta.strategies.differentiable.sampling import Sampling
from nasmeta.task import TaskBatch
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
            return torch.optim.Adam(parameters, self.lr, betas=betas, weight_decay=self.weight_decay)
        return torch.optim.RMSprop(parameters, self.lr, alpha=self.beta2, weight_decay=self.weight_decay)


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
        self.problem, self.sampling, self.unrolled = problem, sampling, unrolled
        self.iterations, self.iteration = iterations, 0
        self.state = problem.relaxed_state(relaxation)
        network: Any = self.state.network.module
        self.network: RelaxedNetwork = network
        self.names = self.network.architecture_names
        self.state.inner_scale = dict.fromkeys(self.names, 0.0)
        weights = [p for n, p in self.state.parameters.items() if n not in self.names]
        self._weights = problem.optimizer.make(weights)
        self._architecture = optimizer.make(list(self.alpha.values()))
        self._loss = torch.zeros(())

    @property
    def alpha(self) -> Parameters:
        """The architecture's parameters."""
        return {name: self.state.parameters[name] for name in self.names}

    def step(self) -> None:
        """The architecture's step, then the weights' (algorithm 1). Only sampling waits for the device."""
        rate = self.problem.optimizer.rate(self.iteration, self.iterations)
        train, valid = self.batch(2 * self.iteration), self.batch(2 * self.iteration + 1)
        self._sample("architecture")
        for name, value in self._architecture_gradient(train, valid, rate).items():
            self.state.parameters[name].grad = value
        self._architecture.step()
        self._sample("weights")
        gradients, metrics = self._retry_on_oom(
            lambda: self.problem.learner.meta_gradient(self.state, train, self.iteration)
        )
        for name, parameter in self.state.parameters.items():
            if name not in self.names:
                parameter.grad = gradients.get(name)
        for group in self._weights.param_groups:
            group["lr"] = rate
        self._weights.step()
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

        def at(alpha: Parameters) -> Parameters:
            each = [first_order(self._held_at, point | alpha, self.names, batch) for batch in batches]
            return {name: torch.stack([gradient[name] for gradient in each]).mean(0) for name in alpha}

        return dominant_eigenvalue(at, {name: point[name] for name in self.names}, rng)

    def _architecture_gradient(self, train: TaskBatch, valid: TaskBatch, rate: float) -> Parameters:
        point = {name: value.detach() for name, value in self.state.parameters.items()}
        if self.unrolled:
            return second_order(self._gradient_at, point, self.names, train, valid, rate)
        return first_order(self._held_at, point, self.names, valid)

    def _gradient_at(self, point: Parameters, batch: TaskBatch) -> Parameters:
        state = replace(self.state, parameters={n: v.requires_grad_() for n, v in point.items()})
        return self._retry_on_oom(lambda: self.problem.learner.meta_gradient(state, batch, self.iteration))[0]

    def _held_at(self, point: Parameters, batch: TaskBatch) -> Parameters:
        state = replace(self.state, parameters={n: v.requires_grad_() for n, v in point.items()})
        return self._retry_on_oom(
            lambda: self.problem.learner.frozen_parameter_gradient(state, batch, self.iteration)
        )[0]

    def _retry_on_oom(self, gradients: Callable[[], T]) -> T:
        return self.problem.retry_relaxed_on_oom(self.state, gradients)

    def _sample(self, purpose: str) -> None:
        progress = self.iteration / self.iterations
        self.sampling.set(self.network, self.alpha, progress, purpose, self.iteration)

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
        self._weights.load_state_dict(saved["weights"])
        self._architecture.load_state_dict(saved["architecture"])
        self.iteration, self._loss = saved["iteration"], saved["loss"]
