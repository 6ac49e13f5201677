"""What every proxy is given: a network as it is initialized, and a few meta-training episodes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.forward_pass import Kernels
from nasmeta.networks.network import Parameters
from nasmeta.task import TaskBatch
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
