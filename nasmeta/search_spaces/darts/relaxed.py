"""All genotypes as one relaxed network: every state leads to every later node by a mixture."""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor, nn

from nasmeta.search_spaces.cell_ops import image_channels
from nasmeta.search_spaces.darts.architecture import INPUTS, Cell, DartsGenotype
from nasmeta.search_spaces.darts.network import OPS, DartsBody, build, prepare
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.search_spaces.relaxation.mixture import Alpha, MixedOp, Place, RelaxedBody, RelaxedNetwork, total
from nasmeta.search_spaces.relaxation.spec import Inputs, Relaxation
from nasmeta.task import TaskSpec

CELLS = ("normal", "reduce")


def relaxed(
    task: TaskSpec,
    relaxation: Relaxation,
    *,
    operations: Sequence[str],
    nodes: int,
    width: int,
    layers: int,
    reductions: Collection[int],
) -> RelaxedNetwork:
    """The relaxed network in the skeleton of `build`, whose arguments it takes."""
    states = [INPUTS + number for number in range(nodes)]
    alpha = Alpha(_shapes(states, len(operations), relaxation.inputs))
    reduces = [number in reductions for number in range(layers)]

    def make_cell(before_last: int, last: int, width: int, *, reduce: bool, halved: bool) -> nn.Module:
        cell = MixedCell(alpha, CELLS[reduce], operations, states, width, relaxation)
        cell.prepare = prepare(before_last, last, width, halved=halved)
        return cell

    def plain(arch: Any) -> FewShotNetwork:
        return build(arch, task, width=width, layers=layers, reductions=reductions)

    def derive(values: Mapping[str, Tensor]) -> DartsGenotype:
        normal, reduce = (_cell(values, name, operations, states, relaxation.inputs) for name in CELLS)
        return DartsGenotype(normal, reduce)

    def places(arch: DartsGenotype, name: str) -> list[Place]:
        cell = arch.reduce if reduces[int(name.removeprefix("cells."))] else arch.normal
        return [
            (sum(states[:number]) + state, op) for number, edges in enumerate(cell) for op, state in edges
        ]

    net = DartsBody(make_cell, nodes, image_channels("darts", task), width, reduces)
    head = nn.Linear(net.features, task.outputs)
    return RelaxedNetwork(RelaxedBody(alpha, net), head, derive_from=derive, build=plain, places=places)


def _shapes(states: Sequence[int], operations: int, inputs: Inputs) -> dict[str, Sequence[int]]:
    shapes: dict[str, Sequence[int]] = {name: (sum(states), operations) for name in CELLS}
    if inputs != "all":
        shapes |= {f"{name}_inputs": (sum(_options(states, inputs)),) for name in CELLS}
    return shapes


def _options(states: Sequence[int], inputs: Inputs) -> list[int]:
    """The number of inputs, or pairs of them, that each node can choose from."""
    return [comb(count, 2) if inputs == "pairs" else count for count in states]


def _cell(
    alpha: Mapping[str, Tensor], name: str, operations: Sequence[str], states: Sequence[int], inputs: Inputs
) -> Cell:
    """Each node's two strongest inputs with their heaviest operations (section 2.4 of DARTS).

    The strength of an input is the weight of its heaviest operation, times the input's own weight if inputs
    have weights. If pairs of inputs have weights, the heaviest pair is taken.
    """
    weights = alpha[name].softmax(-1)
    strengths, best = (part.split(list(states)) for part in weights.max(-1))
    if inputs != "all":
        logits = alpha[f"{name}_inputs"].split(_options(states, inputs))
    cell = []
    for number, count in enumerate(states):
        if inputs == "pairs":
            pairs = list(combinations(range(count), 2))
            first, second = pairs[int(logits[number].argmax())]
        else:
            strength = strengths[number]
            if inputs == "edges":
                strength = strength * logits[number].softmax(-1)
            first, second = sorted(strength.argsort(descending=True, stable=True)[:2].tolist())
        a, b = (operations[int(best[number][state])] for state in (first, second))
        cell.append(((a, first), (b, second)))
    return tuple(cell)


class MixedCell(nn.Module):
    """One relaxed cell: every state is mixed into every later node.

    alpha: the body's architecture parameters. name: the cell's name in them.
    """

    prepare: nn.ModuleList

    def __init__(
        self,
        alpha: Alpha,
        name: str,
        operations: Sequence[str],
        states: Sequence[int],
        width: int,
        relaxation: Relaxation,
    ) -> None:
        super().__init__()
        self._alpha = (alpha,)  # in a tuple, not a child, so that parameters have one name
        self.name, self.states, self.weighed = name, states, relaxation.inputs
        divisor = relaxation.channel_divisor
        self.edges = nn.ModuleList(
            MixedOp(OPS, operations, width, 2 if name == "reduce" and state < INPUTS else 1, divisor)
            for count in states
            for state in range(count)
        )

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        (alpha,) = self._alpha
        weights, chosen = alpha.operations(self.name), alpha.chosen(self.name)
        factors = self._factors(alpha)
        states = [self.prepare[0](before_last), self.prepare[1](last)]
        edge = 0
        for count in self.states:
            terms = []
            for state in states[:count]:
                term = self.edges[edge](state, weights[edge], chosen[edge])
                terms.append(term if factors is None else factors[edge] * term)
                edge += 1
            states.append(total(terms))
        return torch.cat(states[INPUTS:], dim=1)

    def _factors(self, alpha: Alpha) -> list[Tensor] | None:
        """The weight of each edge; None if all are 1. An edge has the sum of the weights of its pairs."""
        if self.weighed == "all":
            return None
        weights = alpha.shares(f"{self.name}_inputs", _options(self.states, self.weighed))
        if self.weighed == "edges":
            return [weight for node in weights for weight in node.unbind()]
        factors = []
        for count, node in zip(self.states, weights, strict=True):
            pairs = list(combinations(range(count), 2))
            for state in range(count):
                factors.append(total([node[i] for i, pair in enumerate(pairs) if state in pair]))
        return factors
