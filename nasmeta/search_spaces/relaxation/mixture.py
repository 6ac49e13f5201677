"""Relaxed networks: every edge is a mixture of all operations with learned weights.

The continuous relaxation of DARTS (Liu et al. 2019, arXiv:1806.09055, eq. 2), and its successors: the sampled
edge of GDAS (Dong & Yang 2019, arXiv:1910.04465, eq. 4 to 7), the partial channels and edge weights of
PC-DARTS (Xu et al. 2020, arXiv:1907.05737, eq. 2 and 3), the pairs of inputs and the annealed temperature of
MetaNAS (Elsken et al. 2020, arXiv:1911.11090, section 4). The relaxed.py of a space puts the nodes into its
skeleton, and derives an architecture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor, nn

from nasmeta.errors import ConfigError
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.cell_ops import Table
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.search_spaces.relaxation.spec import Inputs
from nasmeta.task import TaskSpec

PREFIX = "body.alpha."
"""The prefix of the names of the architecture's parameters."""

INIT_STD = 1e-3
"""Standard deviation of the initial architecture parameters, as in DARTS."""


@dataclass
class EdgeSample:
    """How logits become weights. All copies of a network, one per thread, share one EdgeSample.

    temperature: of all softmaxes, at the beginning and at the end of an inner loop. noise, hard (one-hot),
    both [edges, operations], and chosen (the sampled operation of each edge): Gumbel samples by the name of
    the logits; empty for a plain softmax.
    """

    temperature: tuple[float, float] = (1.0, 1.0)
    noise: dict[str, Tensor] = field(default_factory=dict)
    hard: dict[str, Tensor] = field(default_factory=dict)
    chosen: dict[str, list[int]] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "EdgeSample":
        return self


class Alpha(nn.Module):
    """The architecture's parameters: a table of logits [edges, operations] per cell, and input logits.

    cells: their names. fed: for each node of a cell, how many states there are before it; from each of them,
    an edge leads to the node. operations: how many an edge has. inputs: what has logits besides operations.
    """

    def __init__(self, cells: Sequence[str], fed: Sequence[int], operations: int, inputs: Inputs) -> None:
        super().__init__()
        self.fed, self.inputs = fed, inputs
        shapes: dict[str, tuple[int, ...]] = {name: (sum(fed), operations) for name in cells}
        if inputs != "all":
            shapes |= {f"{name}_inputs": (sum(self.choices),) for name in cells}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(INIT_STD * torch.randn(*shape)))
        self.edge_sample = EdgeSample()
        self.progress = 0.0
        """How far an inner loop is, from 0 to 1; the temperature follows it."""

    @property
    def choices(self) -> list[int]:
        """For each node, the number of inputs, or pairs of them, that have logits."""
        return [comb(count, 2) if self.inputs == "pairs" else count for count in self.fed]

    @property
    def temperature(self) -> float:
        start, end = self.edge_sample.temperature
        return start + (end - start) * self.progress

    def operations(self, cell: str) -> Tensor:
        """Weights [edges, operations]; each row sums to 1.

        They are the softmax of the logits, or the sampled operations as one-hot rows with the derivative of
        the Gumbel softmax (straight-through: GDAS eq. 4 to 6).
        """
        logits: Tensor = getattr(self, cell)
        if cell not in self.edge_sample.noise:
            return torch.softmax(logits / self.temperature, -1)
        noisy = (torch.log_softmax(logits, -1) + self.edge_sample.noise[cell]) / self.temperature
        soft = torch.softmax(noisy, -1)
        return self.edge_sample.hard[cell] + (soft - soft.detach())

    def chosen(self, cell: str) -> Sequence[int | None]:
        """The sampled operation of each edge; None if all operations are mixed."""
        return self.edge_sample.chosen.get(cell) or [None] * len(getattr(self, cell))

    def factors(self, cell: str) -> Sequence[Tensor | None]:
        """The weight of each edge among those to its node; None if all are 1.

        It is a softmax over a node's inputs; an edge has the sum of the weights of its pairs of inputs.
        """
        if self.inputs == "all":
            return [None] * sum(self.fed)
        logits: Tensor = getattr(self, f"{cell}_inputs")
        nodes = [torch.softmax(part / self.temperature, -1) for part in logits.split(self.choices)]
        if self.inputs == "edges":
            return [weight for node in nodes for weight in node.unbind()]
        return [
            total([node[i] for i, pair in enumerate(combinations(range(count), 2)) if state in pair])
            for count, node in zip(self.fed, nodes, strict=True)
            for state in range(count)
        ]


class MixedOp(nn.Module):
    """sum over the `operations` o of weights[o] o(x); x and the result have `width` channels.

    table: makes each operation by its name. stride: 2 halves height and width.

    On a sampled edge only the sampled operation is computed, and only its weight has a derivative (GDAS eq.
    7). If `channel_divisor` is K > 1, the first width / K channels go through the operations, the others
    bypass them, and all are shuffled (PC-DARTS eq. 2). Raises ConfigError if K does not divide the width, or
    is the width: an operation of stride 2 has two halves.
    """

    def __init__(
        self, table: Table, operations: Sequence[str], width: int, stride: int, channel_divisor: int
    ) -> None:
        super().__init__()
        if width % channel_divisor or (channel_divisor > 1 and width == channel_divisor):
            raise ConfigError(
                f"strategy.partial_channels: {channel_divisor} does not divide the {width} channels of a "
                "cell into two or more each; use a smaller divisor of search_space.width"
            )
        self.channel_divisor, self.inner = channel_divisor, width // channel_divisor
        self.ops = nn.ModuleDict({name: table[name](self.inner, self.inner, stride) for name in operations})
        self.names = tuple(operations)
        around = stride > 1 and channel_divisor > 1
        self.around: nn.Module = nn.MaxPool2d(2, ceil_mode=True) if around else nn.Identity()

    def forward(self, x: Tensor, weights: Tensor, chosen: int | None) -> Tensor:
        if self.channel_divisor == 1:
            return self._mixed(x, weights, chosen)
        mixed = self._mixed(x[:, : self.inner], weights, chosen)
        y = torch.cat([mixed, self.around(x[:, self.inner :])], 1)
        parts: Tensor = y.unflatten(1, (self.channel_divisor, self.inner))
        return parts.transpose(1, 2).flatten(1, 2)

    def _mixed(self, x: Tensor, weights: Tensor, chosen: int | None) -> Tensor:
        if chosen is not None:
            one: Tensor = weights[chosen] * self.ops[self.names[chosen]](x)
            return one
        return total([weights[i] * self.ops[name](x) for i, name in enumerate(self.names)])


class MixedNodes(nn.Module):
    """The nodes of a relaxed cell, as `cell_ops.Nodes`: every state is mixed into every later node.

    alpha: the body's architecture parameters. cell: the cell's name in them. inputs: how many states the cell
    gets; edges from these have the `stride`, others 1. divisor: of the channels. The rest is as in MixedOp.
    """

    def __init__(
        self,
        alpha: Alpha,
        cell: str,
        table: Table,
        operations: Sequence[str],
        width: int,
        *,
        inputs: int,
        stride: int,
        divisor: int,
    ) -> None:
        super().__init__()
        self._alpha = (alpha,)  # in a tuple, not a child, so that parameters have one name
        self.cell = cell
        self.edges = nn.ModuleDict(
            {
                f"{state}-{node}": MixedOp(table, operations, width, stride if state < inputs else 1, divisor)
                for node in alpha.fed
                for state in range(node)
            }
        )

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        (alpha,) = self._alpha
        weights, chosen = alpha.operations(self.cell).unbind(), alpha.chosen(self.cell)
        edges = zip(self.edges.values(), weights, chosen, alpha.factors(self.cell), strict=True)
        states = list(inputs)
        for _ in alpha.fed:
            terms = []
            for state, (mixed, weight, choice, factor) in zip(states, edges, strict=False):
                term = mixed(state, weight, choice)
                terms.append(term if factor is None else factor * term)
            states.append(total(terms))
        return states


def total(terms: Sequence[Tensor]) -> Tensor:
    """The sum of the terms."""
    return reduce(torch.add, terms)


class RelaxedBody(nn.Module):
    """The architecture's parameters `alpha`, and the body `net` whose cells read them."""

    def __init__(self, alpha: Alpha, net: nn.Module) -> None:
        super().__init__()
        self.alpha = alpha
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.net(x)
        return features


class RelaxedNetwork(FewShotNetwork):
    """All networks of `space` for `task` at once, and each of them by itself.

    net: the body, whose cells read `alpha`; it returns [n, features]. derive: maps the parameters of `alpha`
    to an architecture.
    """

    body: RelaxedBody

    def __init__(
        self,
        space: SearchSpace[Any],
        task: TaskSpec,
        alpha: Alpha,
        net: nn.Module,
        features: int,
        derive: Callable[[Mapping[str, Tensor]], Any],
    ) -> None:
        super().__init__(RelaxedBody(alpha, net), nn.Linear(features, task.outputs))
        self._space, self._task, self._derive = space, task, derive
        names = (name for name, _ in self.named_parameters())
        self.architecture_names = tuple(name for name in names if name.startswith(PREFIX))
        """The names of the architecture's parameters."""

    @property
    def edge_sample(self) -> EdgeSample:
        return self.body.alpha.edge_sample

    def anneal(self, progress: float) -> None:
        """Sets how far an inner loop is, from 0 to 1."""
        self.body.alpha.progress = progress

    def derive(self, parameters: Mapping[str, Tensor]) -> Any:
        """The discrete architecture of these parameters. It reads values, so it waits for the device."""
        own = {name: parameters[name].detach().cpu() for name in self.architecture_names}
        return self._derive({name.removeprefix(PREFIX): value for name, value in own.items()})

    def discrete(self, arch: Any) -> FewShotNetwork:
        """The plain network of an architecture, on the meta device (without values)."""
        with torch.device("meta"):
            return self._space.build(arch, self._task)

    def shared_name(self, arch: Any, name: str) -> str:
        """This network's name of a parameter of `discrete(arch)`: both are the same tensor."""
        shared = self._space.sharing(self._task).name(arch, name)
        return shared if shared.startswith("head.") else shared.replace("body.", "body.net.", 1)
