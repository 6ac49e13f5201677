"""Graph convolutional networks over architectures, several of them computed as one."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nasmeta.strategies.surrogate.graphs import PackedGraphs


@dataclass(frozen=True)
class GraphTensors:
    """`PackedGraphs` as tensors, with the weights of the sums that the networks form.

    forward, backward [edges, 1]: 1 / sqrt of the edges into the edge's target, out of its source;
    share [nodes, 1]: 1 / nodes of the node's graph.
    """

    features: Tensor
    sources: Tensor
    targets: Tensor
    owner: Tensor
    count: int
    forward: Tensor
    backward: Tensor
    share: Tensor

    @classmethod
    def of(cls, graphs: PackedGraphs) -> "GraphTensors":
        features, owner = torch.from_numpy(graphs.features), torch.from_numpy(graphs.owner)
        sources, targets = torch.from_numpy(graphs.sources), torch.from_numpy(graphs.targets)
        nodes = len(features)
        return cls(
            features=features,
            sources=sources,
            targets=targets,
            owner=owner,
            count=graphs.count,
            forward=targets.bincount(minlength=nodes)[targets, None].rsqrt(),
            backward=sources.bincount(minlength=nodes)[sources, None].rsqrt(),
            share=owner.bincount()[owner, None].reciprocal(),
        )


class GraphNetworks:
    """`members` networks of one shape, with initial weights of their own.

    Each embeds the nodes linearly, then `layers` times replaces every node's state by
    relu(W [own state, sum over who feeds it, sum over whom it feeds] + b), the sums divided by the square
    root of their number (the two directions are those of Wen et al. 2020, section 3.2, with weights of their
    own), and ends with a linear map of the mean state of the nodes.
    """

    def __init__(
        self, *, features: int, members: int, hidden: int, layers: int, generator: torch.Generator
    ) -> None:
        self.members, self.hidden = members, hidden

        def weight(rows: int, gain: float) -> Tensor:
            drawn = torch.randn(members, rows, hidden, generator=generator)
            return (drawn * math.sqrt(gain / rows)).requires_grad_()

        # A node's features are one of many operations and few numbers: the norm is near one, not `features`.
        self.embedding = weight(features, features / 2)
        self.weights = [weight(3 * hidden, 2.0) for _ in range(layers)]
        self.biases = [torch.zeros(members, 1, hidden, requires_grad=True) for _ in range(layers)]
        head = torch.randn(members, hidden, 1, generator=generator) * 0.3 / math.sqrt(hidden)
        self.head = head.requires_grad_()
        self.offset = torch.zeros(members, 1, 1, requires_grad=True)

    def parameters(self) -> list[Tensor]:
        return [self.embedding, *self.weights, *self.biases, self.head, self.offset]

    def __call__(self, graphs: GraphTensors) -> Tensor:
        """Predictions [members, graphs]."""
        state = graphs.features @ self.embedding  # [members, nodes, hidden]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            flat = self._flat(state)
            fed = _gather(flat, graphs.sources, graphs.targets, graphs.forward)
            feeds = _gather(flat, graphs.targets, graphs.sources, graphs.backward)
            inputs = torch.cat([state, self._stacked(fed), self._stacked(feeds)], dim=-1)
            state = torch.baddbmm(bias, inputs, weight).relu()
        flat = self._flat(state)
        pooled = flat.new_zeros(graphs.count, flat.shape[1]).index_add(0, graphs.owner, flat * graphs.share)
        return torch.baddbmm(self.offset, self._stacked(pooled), self.head)[..., 0]

    def _flat(self, state: Tensor) -> Tensor:
        """[members, rows, hidden] -> [rows, members * hidden]: one gather serves all members."""
        return state.transpose(0, 1).reshape(-1, self.members * self.hidden)

    def _stacked(self, flat: Tensor) -> Tensor:
        return flat.view(-1, self.members, self.hidden).transpose(0, 1)


def _gather(state: Tensor, sources: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """[nodes, width] -> the same: for each node the weighted sum over the edges that end in it."""
    return torch.zeros_like(state).index_add(0, targets, state[sources] * weights)
