"""What every proxy looks at: a network as it is initialized, and a few meta-training episodes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from nasmeta.meta_learners.base import MetaLearner, MetaState
from nasmeta.networks.batch_norm import Statistics
from nasmeta.networks.network import Parameters
from nasmeta.task import TaskBatch
from nasmeta.trial import Cost


@dataclass(frozen=True)
class Untrained:
    """A network before its first meta-iteration.

    `batches` gives the same meta-training batches whenever it is called; `cost` is that of the network.
    """

    learner: MetaLearner
    state: MetaState
    batches: Callable[[], Iterator[TaskBatch]]
    cost: Cost

    def tasks(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """support_x, support_y, query_x, query_y of one task after the other."""
        for batch in self.batches():
            yield from zip(*batch[:4], strict=True)

    def outputs(self, support_x: Tensor, query_x: Tensor, *, fused: bool = True) -> tuple[Tensor, Tensor]:
        """The examples of a task [N + M, ...], requiring gradients, and the network's outputs for them.

        Normalized by the run's batch-norm policy; under `running`, of which an untrained network has no
        statistics yet, by the task's own, as in training. If not `fused`, every layer computes its whole
        output, as torch's own layers do.
        """
        x = torch.cat([support_x, query_x]).detach().requires_grad_()
        rows = len(support_x) if self.learner.batch_norm == "support" else None
        return x, self.state.network(self.state.parameters, x, Statistics(rows=rows, fused=fused))

    def weights(self) -> Parameters:
        """The network's weights of convolutions and linear layers: no biases, no norms' scales."""
        return {n: p for n, p in self.state.network_parameters.items() if p.dim() > 1}

    def gradients(self) -> Iterator[Parameters]:
        """For each batch, the direction of the learner's first meta-iteration on it, of `weights()`."""
        for batch in self.batches():
            gradients, _ = self.learner.meta_gradient(self.state, batch, 0)
            yield {name: gradients[name].detach() for name in self.weights()}


Proxy = Callable[[Untrained], float]
"""A score of which more is to promise more; NaN or infinite where the network gives none."""


def mean(values: Iterator[float]) -> float:
    return fmean(values)
