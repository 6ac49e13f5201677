"""Meta-training of shared weights: each meta-iteration is a step on the sub-networks that it samples."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

import torch

from nasmeta.evaluators.supernet.sampling import SAMPLINGS, PathSampling
from nasmeta.evaluators.supernet.weights import SharedWeights, Subnetwork
from nasmeta.meta_learners.gradients import Gradients, Mean
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.network import Network, Parameters
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.task import TaskBatch
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.optimizers import OuterOptimizer
from nasmeta.training.problem import Problem

T = TypeVar("T")

WINDOW_OF_NORMS = 100
"""Over about so many of the latest sub-networks, the typical gradient norm is averaged."""


class SupernetTraining(MetaTraining):
    """Single-path training of the shared weights: a `step` is an outer step on the sampled sub-networks.

    problem: the run's. optimizer: the outer one. sampling: which sub-networks are trained, unless `path` is
    set; then it is the one architecture that is trained. iterations: as in MetaTraining.

    A shared tensor that no sampled sub-network uses does not change: no decay, no momentum. If several use
    it, its gradient is their mean. (FairNAS adds them up, which is the same to Adam. The mean keeps an outer
    step of Reptile an average.)

    Every sub-network's gradient is rescaled to the typical norm of the latest ones. Distances between
    embeddings of 784 numbers give gradients many times those of 16. Adam divides by the largest of recent
    gradients, and would train only the former.
    """

    def __init__(
        self, problem: Problem, optimizer: OuterOptimizer, sampling: PathSampling, iterations: int
    ) -> None:
        self.problem = problem
        self.weights = SharedWeights(problem)
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
        self._paths = SAMPLINGS[sampling](space, problem.seed)
        self._log_norm = torch.zeros((), device=problem.device)  # the mean over `_norms` gradients
        self._norms = torch.zeros((), device=problem.device)

    def gradients(self, batch: TaskBatch) -> Gradients:
        """The mean over the sampled sub-networks, for every shared tensor that any of them uses."""
        total: Parameters = {}
        users: Counter[str] = Counter()
        metrics = Mean()
        for arch in self._sampled():
            subnetwork, (gradients, measured) = self.inheriting(
                arch, lambda s: (s, self.learner.meta_gradient(s.state, batch, self.iteration))
            )
            subnetwork.scatter(self._balanced(gradients), total, self.weights.parameters)
            metrics.add(measured, 1)
            users.update(subnetwork.shared_names.values())
        return {name: gradient / users[name] for name, gradient in total.items()}, metrics.get()

    def _balanced(self, gradients: Parameters) -> Parameters:
        """The gradients, scaled so that their joint norm is the geometric mean of the latest norms.

        Their own norm is included. From WINDOW_OF_NORMS norms on, the mean is an exponential average. A
        gradient of zero stays zero and does not count.
        """
        norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        zero = norm == 0
        self._norms = (self._norms + ~zero).clamp_max(WINDOW_OF_NORMS)
        log_norm = torch.where(zero, self._log_norm, norm.log())
        self._log_norm = self._log_norm.lerp(log_norm, 1 / self._norms.clamp_min(1))
        scale = (self._log_norm - log_norm).exp()
        return {name: gradient * scale for name, gradient in gradients.items()}

    def inheriting(self, arch: Any, use: Callable[[Subnetwork], T]) -> T:
        """Returns use(network of `arch`), with as many tasks at once as fit in memory.

        Later calls begin with the number of tasks that was found.
        """

        def attempt(problem: Problem) -> T:
            self.weights.problem = problem
            return use(self.weights.subnetwork(arch))

        result, self.problem = self.problem.retry_on_oom(arch, attempt)
        return result

    def _sampled(self) -> list[Any]:
        return next(self._paths) if self.path is None else [self.path]

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "log_norm": self._log_norm,
            "norms": self._norms,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        super().load_state_dict(saved)
        self._paths = islice(self._paths, self.iteration, None)
        self._log_norm = saved["log_norm"].to(self.problem.device)
        self._norms = saved["norms"].to(self.problem.device)
