"""Relaxed networks: every edge is a mixture of all operations with learned weights.

The continuous relaxation of DARTS (Liu et al. 2019, arXiv:1806.09055, eq. 2), and its successors: the sampled
edge of GDAS (Dong & Yang 2019, arXiv:1910.04465, eq. 4 to 7), the partial channels and edge weights of
PC-DARTS (Xu et al. 2020, arXiv:1907.05737, eq. 2 and 3), the pairs of inputs and the annealed temperature of
MetaNAS (Elsken et al. 2020, arXiv:1911.11090, section 4). This module has what spaces share. The relaxed.py
of a space has its cells, and derives an architecture.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from nasmeta.errors import ConfigError
from nasmeta.search_spaces.cell_ops import Table
from nasmeta.search_spaces.modules import FewShotNetwork

PREFIX = "body.alpha."
"""The prefix of the names of the architecture's parameters."""

INIT = 1e-3
"""Standard deviation of the initial architecture parameters, as in DARTS."""

Place = tuple[int, str]
"""The number of an edge of a relaxed cell, and the operation on it."""


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

    progress: how far an inner loop is, from 0 to 1; the temperature follows it.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(INIT * torch.randn(*shape)))
        self.edge_sample = EdgeSample()
        self.progress = 0.0

    @property
    def temperature(self) -> float:
        start, end = self.edge_sample.temperature
        return start + (end - start) * self.progress

    def operations(self, name: str) -> Tensor:
        """Weights [edges, operations]; each row sums to 1.

        They are the softmax of the logits, or the sampled operations as one-hot rows with the derivative of
        the Gumbel softmax (straight-through: GDAS eq. 4 to 6).
        """
        logits: Tensor = getattr(self, name)
        if name not in self.edge_sample.noise:
            return torch.softmax(logits / self.temperature, -1)
        noisy = (torch.log_softmax(logits, -1) + self.edge_sample.noise[name]) / self.temperature
        soft = torch.softmax(noisy, -1)
        return self.edge_sample.hard[name] + (soft - soft.detach())

    def chosen(self, name: str) -> Sequence[int | None]:
        """The sampled operation of each edge; None if all operations are mixed."""
        return self.edge_sample.chosen.get(name) or [None] * len(getattr(self, name))

    def shares(self, name: str, sizes: Sequence[int]) -> list[Tensor]:
        """A softmax of logits [sum of sizes] over the inputs of each node, whose numbers are `sizes`."""
        logits: Tensor = getattr(self, name)
        return [torch.softmax(part / self.temperature, -1) for part in logits.split(list(sizes))]


class MixedOp(nn.Module):
    """sum over o of weights[o] o(x); x and the result have `width` channels.

    On a sampled edge only the sampled operation is computed, and only its weight has a derivative (GDAS eq.
    7). If `channel_divisor` is K > 1, the first width / K channels go through the operations, the others
    bypass them, and all are shuffled (PC-DARTS eq. 2).
    """

    def __init__(
        self, table: Table, operations: Sequence[str], width: int, stride: int, channel_divisor: int
    ) -> None:
        super().__init__()
        if width % channel_divisor:
            raise ConfigError(
                f"strategy.partial_channels: {channel_divisor} does not divide the {width} channels of a "
                "cell; use a divisor of search_space.width"
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


def total(terms: Sequence[Tensor]) -> Tensor:
    """The sum of the terms."""
    return reduce(torch.add, terms)


class RelaxedBody(nn.Module):
    """The architecture's parameters, and the body whose cells read them."""

    def __init__(self, alpha: Alpha, net: nn.Module) -> None:
        super().__init__()
        self.alpha = alpha
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.net(x)
        return features


class RelaxedNetwork(FewShotNetwork):
    """All networks of a space at once, and each of them by itself.

    architecture_names: the names of the architecture's parameters.

    derive_from: maps the parameters of `body.alpha`, named without the prefix, to an architecture. build:
    returns an architecture's plain network. places: where in the relaxed cell the operations of a plain cell
    are; cells are named as in the body.
    """

    body: RelaxedBody

    def __init__(
        self,
        body: RelaxedBody,
        head: nn.Linear,
        *,
        derive_from: Callable[[Mapping[str, Tensor]], Any],
        build: Callable[[Any], FewShotNetwork],
        places: Callable[[Any, str], Sequence[Place]],
    ) -> None:
        super().__init__(body, head)
        self._derive_from, self._build, self._places = derive_from, build, places
        names = (name for name, _ in self.named_parameters())
        self.architecture_names = tuple(name for name in names if name.startswith(PREFIX))

    @property
    def edge_sample(self) -> EdgeSample:
        return self.body.alpha.edge_sample

    def anneal(self, progress: float) -> None:
        """Sets how far an inner loop is, from 0 to 1."""
        self.body.alpha.progress = progress

    def derive(self, parameters: Mapping[str, Tensor]) -> Any:
        """The discrete architecture of these parameters. It reads values, so it waits for the device."""
        own = {
            name.removeprefix(PREFIX): value.detach().cpu()
            for name, value in parameters.items()
            if name.startswith(PREFIX)
        }
        return self._derive_from(own)

    def discrete(self, arch: Any) -> FewShotNetwork:
        """The plain network of an architecture, on the meta device (without values)."""
        with torch.device("meta"):
            return self._build(arch)

    def shared_name(self, arch: Any, name: str) -> str:
        """This network's name of a parameter of `discrete(arch)`: both are the same tensor."""
        match = re.fullmatch(r"body\.((?:.*\.)?)ops\.(\d+)\.(.*)", name)
        if match is None:
            return re.sub(r"^body\.", "body.net.", name)
        cell, number, rest = match.groups()
        edge, operation = self._places(arch, cell.rstrip("."))[int(number)]
        return f"body.net.{cell}edges.{edge}.ops.{operation}.{rest}"
