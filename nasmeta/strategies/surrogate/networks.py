"""Graph convolutional networks over architectures; several are computed as one."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nasmeta.strategies.surrogate.graphs import PackedGraphs

HEAD_GAIN = 0.1
"""Gain of the last layer's initial weights: untrained networks should predict values near zero."""


@dataclass(frozen=True, eq=False)
class GraphTensors:
    """Packed graphs as tensors, with messages sent along every edge and against it.

    The states have three rows per node v: row 3 v is what it keeps, row 3 v + 1 goes to the nodes that v
    feeds, and row 3 v + 2 to those that feed v. origins, ends [2 edges]: the row sent, and the node that
    receives it. weights [2 edges, 1]: 1 / sqrt(the number of messages of this direction that the node
    receives). share [nodes, 1]: 1 / nodes of the node's graph.
    """

    features: Tensor
    origins: Tensor
    ends: Tensor
    weights: Tensor
    owner: Tensor
    share: Tensor
    count: int

    @classmethod
    def of(cls, graphs: PackedGraphs) -> "GraphTensors":
        owner = torch.from_numpy(graphs.owner)
        sources, targets = torch.from_numpy(graphs.sources), torch.from_numpy(graphs.targets)
        weights = torch.cat([targets.bincount()[targets], sources.bincount()[sources]]).rsqrt()
        return cls(
            features=torch.from_numpy(graphs.features),
            origins=torch.cat([3 * sources + 1, 3 * targets + 2]),
            ends=torch.cat([targets, sources]),
            weights=weights[:, None],
            owner=owner,
            share=owner.bincount()[owner, None].reciprocal(),
            count=graphs.count,
        )


class GraphNetworks:
    """`members` networks of one shape, each with its own weights.

    Each embeds the nodes linearly. Then `layers` times it replaces the state h of every node by relu(A h + B
    (sum of h over those that feed it) + C (sum over those that it feeds) + b), where each sum is divided by
    the square root of its number of terms. This is graph convolution in both directions (Wen et al. 2020,
    arXiv:1912.00848), with separate weights for each. The prediction is a linear map of the nodes' mean
    state.

    features, hidden: numbers of a node's input and of its state. generator: draws the initial weights.
    """

    def __init__(
        self, *, features: int, members: int, hidden: int, layers: int, generator: torch.Generator
    ) -> None:
        self.members, self.hidden = members, hidden

        def drawn(rows: int, columns: int, variance: float) -> Tensor:
            return torch.randn(members, rows, columns, generator=generator) * math.sqrt(variance)

        # The features are a one-hot operation and a few small numbers: their square norm is about one.
        parts = [drawn(features, hidden, 0.5)]
        for _ in range(layers):
            parts += [drawn(hidden, 3 * hidden, 2 / (3 * hidden)), torch.zeros(members, 1, hidden)]
        parts += [drawn(hidden, 1, HEAD_GAIN / hidden), torch.zeros(members, 1, 1)]
        self._shapes = [part.shape for part in parts]
        # In one vector, so that the optimizer's step is a handful of operations.
        self.parameters = torch.cat([part.flatten() for part in parts]).requires_grad_()

    def __call__(self, graphs: GraphTensors) -> Tensor:
        """Predictions [members, graphs]."""
        flat = self.parameters.split([shape.numel() for shape in self._shapes])
        embedding, *rounds, head, offset = (
            part.view(shape) for part, shape in zip(flat, self._shapes, strict=True)
        )
        state = graphs.features @ embedding  # [members, nodes, hidden]
        for weight, bias in zip(rounds[::2], rounds[1::2], strict=True):
            state = self._stacked(self._exchange(state @ weight, graphs)).add(bias).relu()
        shares = self._rows(state, 1) * graphs.share
        pooled = shares.new_zeros(graphs.count, shares.shape[1]).index_add(0, graphs.owner, shares)
        return torch.baddbmm(offset, self._stacked(pooled), head)[..., 0]

    def _exchange(self, versions: Tensor, graphs: GraphTensors) -> Tensor:
        """What each node keeps plus what it receives: [members, nodes, 3 hidden] -> [nodes, all hidden]."""
        rows = self._rows(versions, 3)
        return rows[::3].index_add(0, graphs.ends, rows[graphs.origins] * graphs.weights)

    def _rows(self, state: Tensor, versions: int) -> Tensor:
        """[members, nodes, versions hidden] -> [nodes versions, members hidden]: one gather for all."""
        split = state.view(self.members, -1, versions, self.hidden)
        return split.permute(1, 2, 0, 3).reshape(-1, self.members * self.hidden)

    def _stacked(self, rows: Tensor) -> Tensor:
        """[nodes, members hidden] -> [members, nodes, hidden]."""
        return rows.view(-1, self.members, self.hidden).transpose(0, 1)
