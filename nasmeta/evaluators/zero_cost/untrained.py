"""What every proxy is given: a network as it is initialized, and a few meta-training episodes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nasmeta.errors import Interrupted
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.cost import measure_cost
from nasmeta.networks.forward_pass import Kernels
from nasmeta.networks.network import Parameters
from nasmeta.task import TaskBatch
from nasmeta.training.problem import Problem
from nasmeta.training.score import Stop
from nasmeta.trial import Cost


@dataclass(frozen=True)
class Untrained:
    """A network before its first meta-iteration.

    learner: the run's. state: the network and its initial parameters. batches: returns the same meta-training
    batches at every call. cost: of the network.
    """

    learner: MetaLearner
    state: MetaState
    batches: Callable[[], Iterator[TaskBatch]]
    cost: Cost

    @classmethod
    def of(cls, problem: Problem, arch: Any, batches: int, stop: Stop = lambda: False) -> "Untrained":
        """An architecture as a trial would start it, with the first `batches` of its meta-training.

        It computes in single precision by torch's own kernels and uncompiled, whatever the run does: nothing
        else pays for a few batches.

        Raises ArchitectureError if it cannot be built. Reading its batches raises Interrupted once `stop()`
        is true.
        """

        def episodes() -> Iterator[TaskBatch]:
            for iteration in range(batches):
                if stop():
                    raise Interrupted(f"stopped after {iteration} of {batches} batches of a proxy")
                yield problem.train.batch(iteration, problem.meta_batch)

        cost = measure_cost(problem.space, arch, problem.task)
        plain = replace(
            problem, execution=replace(problem.execution, compile=False, precision="fp32", kernels="torch")
        )
        return cls(problem.learner, plain.initial_state(arch), episodes, cost)

    def tasks(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yields support_x, support_y, query_x, query_y of one task after the other."""
        for batch in self.batches():
            yield from zip(*batch[:4], strict=True)

    def outputs(
        self, support_x: Tensor, query_x: Tensor, kernels: Kernels = Kernels.FUSED
    ) -> tuple[Tensor, Tensor]:
        """The examples of a task [N + M, ...], requiring gradients, and the network's outputs for them.

        They are normalized by the run's batch-norm policy, as in training, since an untrained network has no
        population statistics.
        """
        x = torch.cat([support_x, query_x]).detach().requires_grad_()
        statistics = self.learner.batch_norm.in_training.statistics(len(support_x))
        return x, self.state.network(self.state.parameters, x, statistics, kernels)

    def weights(self) -> Parameters:
        """The weights of the network's convolutions and linear layers, without biases and norms."""
        return {n: p for n, p in self.state.network_parameters.items() if p.dim() > 1}

    def gradients(self) -> Iterator[Parameters]:
        """For each batch, the direction of `weights()` in the learner's first meta-iteration on it."""
        for batch in self.batches():
            gradients, _ = self.learner.meta_gradient(self.state, batch, 0)
            yield {name: gradients[name].detach() for name in self.weights()}


Proxy = Callable[[Untrained], float]
"""A score of an untrained network; higher is more promising. NaN or infinite if it has none."""
