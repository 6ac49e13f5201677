"""The meta-training of shared weights: each meta-iteration, a step on the sub-networks that it samples."""

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

import torch

from nasmeta.errors import ArchitectureError
from nasmeta.evaluators.memory import fitting
from nasmeta.evaluators.problem import Problem
from nasmeta.evaluators.supernet.sampling import SAMPLINGS, Sampling
from nasmeta.evaluators.supernet.weights import SharedWeights, Subnetwork
from nasmeta.meta_learners.base import Gradients, Mean, MetaState
from nasmeta.meta_learners.functional import Network, Parameters
from nasmeta.meta_learners.outer import OuterOptimizer
from nasmeta.meta_learners.train import MetaTraining
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.task import TaskBatch

T = TypeVar("T")

WINDOW = 100
"""Sub-networks over which the typical length of a gradient is averaged."""


class SupernetTraining(MetaTraining):
    """Single-path training of the shared weights, one outer step of the run's optimizer a `step`.

    A shared tensor that no sampled sub-network has a part of is left alone: no decay, no momentum. Where
    several have, its gradient is their mean (FairNAS adds them up: the same to Adam, and what keeps an outer
    step of Reptile an average). `path`, where it is set, is the one architecture that is trained.

    Every sub-network's gradient is brought to the typical length of the latest ones. What is left to chance
    otherwise is whom the shared weights serve: distances between embeddings of 784 numbers give losses and
    gradients many times those of 16, and Adam scales its steps to the largest (scripts/bench/ranking.py).
    """

    def __init__(
        self, problem: Problem, optimizer: OuterOptimizer, sampling: Sampling, iterations: int
    ) -> None:
        self.problem = problem
        self.weights = SharedWeights(
            problem.space,
            problem.learner,
            problem.task,
            problem.seed,
            problem.device,
            problem.execution,
        )
        with torch.device("meta"):
            any_network = Network(problem.space.build(problem.space.initial(), problem.task))
        super().__init__(
            problem.learner,
            MetaState(any_network, problem.task, self.weights.parameters),
            problem.train,
            optimizer,
            iterations=iterations,
            meta_batch=problem.meta_batch,
            horizon=max(iterations, problem.search_iterations),
        )
        self.path: Any = None
        assert isinstance(problem.space, Decidable), "the evaluator refuses others"
        self._paths = SAMPLINGS[sampling](problem.space, problem.seed, self._buildable)
        self._drawn = 0
        self._draws, self._known = 0, 0
        self._refused: set[int] = set()
        self._log_length = torch.zeros((), device=problem.device)
        self._lengths = 0

    def gradients(self, batch: TaskBatch) -> Gradients:
        """The mean over the sampled sub-networks, of every shared tensor that any of them has a part of."""
        total: Parameters = {}
        users: dict[str, int] = {}
        metrics = Mean()
        for arch in self._sampled():
            subnetwork, (gradients, measured) = self.inheriting(
                arch, lambda s: (s, self.learner.meta_gradient(s.state, batch, self.iteration))
            )
            subnetwork.scatter(self._balanced(gradients), total, self.weights.parameters)
            metrics.add(measured, 1)
            for part in subnetwork.parts.values():
                users[part.shared] = users.get(part.shared, 0) + 1
        return {name: gradient / users[name] for name, gradient in total.items()}, metrics.get()

    def _balanced(self, gradients: Parameters) -> Parameters:
        """The gradients at the geometric mean of the lengths that the latest ones had, these among them."""
        length = torch.stack(torch._foreach_norm(list(gradients.values()))).norm()
        log_length = length.log().clamp_min(-60.0)  # a gradient of zero stays one
        self._lengths = min(self._lengths + 1, WINDOW)
        self._log_length = self._log_length.lerp(log_length, 1 / self._lengths)
        scale = (self._log_length - log_length).exp()
        return {name: gradient * scale for name, gradient in gradients.items()}

    def inheriting(self, arch: Any, use: Callable[[Subnetwork], T]) -> T:
        """What `use` makes of the network of `arch`, with as many tasks at once as fit, then and later."""

        def attempt(problem: Problem) -> T:
            self.weights.execution = problem.execution
            return use(self.weights.subnetwork(arch))

        result, self.problem = fitting(self.problem, arch, attempt)
        return result

    def _sampled(self) -> list[Any]:
        if self.path is not None:
            return [self.path]
        # The order of the draws is all that is random, so skipping those of a restored training restores it.
        skipped = self.iteration - self._drawn
        self._drawn = self.iteration + 1
        return next(islice(self._paths, skipped, None))

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "draws": self._draws,
            "refused": sorted(self._refused),
            "log_length": self._log_length,
            "lengths": self._lengths,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        super().load_state_dict(saved)
        self._known, self._refused = saved["draws"], set(saved["refused"])
        self._log_length = saved["log_length"].to(self.problem.device)
        self._lengths = saved["lengths"]

    def _buildable(self, arch: Any) -> bool:
        """Whether the next draw is a network; those of a restored training are known (a build takes ms)."""
        number, self._draws = self._draws, self._draws + 1
        if number >= self._known and not self._builds(arch):
            self._refused.add(number)
        return number not in self._refused

    def _builds(self, arch: Any) -> bool:
        try:
            with torch.device("meta"):
                self.problem.space.build(arch, self.problem.task)
        except ArchitectureError:
            return False
        return True
