"""The meta-training of shared weights: each meta-iteration, a step on the sub-networks that it samples."""

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

import torch

from nasmeta.errors import ArchitectureError
from nasmeta.evaluators.supernet.sampling import SAMPLINGS, Sampling
from nasmeta.evaluators.supernet.weights import SharedWeights, Subnetwork
from nasmeta.meta_learners.base import Gradients, Mean, MetaState
from nasmeta.networks.network import Network, Parameters
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.task import TaskBatch
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.optimizers import OuterOptimizer
from nasmeta.training.problem import Problem

T = TypeVar("T")

WINDOW = 100
"""Sub-networks over which the typical norm of a gradient is averaged."""


class SupernetTraining(MetaTraining):
    """Single-path training of the shared weights, one outer step of the run's optimizer a `step`.

    A shared tensor that no sampled sub-network has a part of is left alone: no decay, no momentum. Where
    several have, its gradient is their mean (FairNAS adds them up: the same to Adam, and what keeps an outer
    step of Reptile an average). `path`, where it is set, is the one architecture that is trained.

    Every sub-network's gradient is rescaled to the typical norm of the latest ones. Distances between
    embeddings of 784 numbers give gradients many times those of 16, and Adam, which divides by the largest of
    late, would train the former alone.
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
        space = problem.space.buildable(problem.task)
        assert isinstance(space, Decidable), "the evaluator refuses others"
        self._paths = SAMPLINGS[sampling](space, problem.seed, self._buildable)
        self._drawn = 0
        self._draws, self._known = 0, 0
        self._refused: set[int] = set()
        self._log_norm = torch.zeros((), device=problem.device)  # the mean of `_norms` of them
        self._norms = torch.zeros((), device=problem.device)

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
        """The gradients, their joint norm now the geometric mean of the latest WINDOW ones, theirs included.

        (A running mean once there are WINDOW.) A gradient of zero stays zero, and counts for nothing.
        """
        norm = torch.stack(torch._foreach_norm(list(gradients.values()))).norm()
        zero = norm == 0
        self._norms = (self._norms + ~zero).clamp_max(WINDOW)
        log_norm = torch.where(zero, self._log_norm, norm.log())
        self._log_norm = self._log_norm.lerp(log_norm, 1 / self._norms.clamp_min(1))
        scale = (self._log_norm - log_norm).exp()
        return {name: gradient * scale for name, gradient in gradients.items()}

    def inheriting(self, arch: Any, use: Callable[[Subnetwork], T]) -> T:
        """What `use` makes of the network of `arch`, with as many tasks at once as fit, then and later."""

        def attempt(problem: Problem) -> T:
            self.weights.execution = problem.execution
            return use(self.weights.subnetwork(arch))

        result, self.problem = self.problem.fitting(arch, attempt)
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
            "log_norm": self._log_norm,
            "norms": self._norms,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        super().load_state_dict(saved)
        self._known, self._refused = saved["draws"], set(saved["refused"])
        self._log_norm = saved["log_norm"].to(self.problem.device)
        self._norms = saved["norms"].to(self.problem.device)

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
