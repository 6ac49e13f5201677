"""All NAS-Bench-201 cells as one relaxed network: five weighted operations per edge, including "none"."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from nasmeta.errors import ConfigError
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.search_spaces.nasbench201.architecture import (
    EDGES,
    NODES,
    OPERATIONS,
    Nasbench201Cell,
    live_edges,
)
from nasmeta.search_spaces.nasbench201.network import OPS, build, skeleton
from nasmeta.search_spaces.relaxation.mixture import Alpha, MixedOp, Place, RelaxedBody, RelaxedNetwork, total
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.task import TaskSpec

INTO = [[number for number, (_, end) in enumerate(EDGES) if end == target] for target in range(1, NODES)]
"""For each node after the input, the indices of the edges that lead to it."""


def relaxed(task: TaskSpec, relaxation: Relaxation, **size: int) -> RelaxedNetwork:
    """The relaxed network in the skeleton of `build`; `size` gives its width, stages and repeats.

    Raises ConfigError for pairs of inputs: a node has all its edges, so there is nothing to choose.
    """
    if relaxation.inputs == "pairs":
        raise ConfigError(
            "strategy.inputs: pairs chooses two inputs of a node, and a cell of nasbench201 has all of them; "
            "use all or edges, or search_space=darts"
        )
    shapes: dict[str, Sequence[int]] = {"cell": (len(EDGES), len(OPERATIONS))}
    if relaxation.inputs == "edges":
        shapes["inputs"] = (len(EDGES),)
    alpha = Alpha(shapes)
    net, features = skeleton(lambda width: RelaxedCell(alpha, width, relaxation), task, **size)

    def plain(cell: Any) -> FewShotNetwork:
        return build(cell, task, **size)

    return RelaxedNetwork(
        RelaxedBody(alpha, net),
        nn.Linear(features, task.outputs),
        derive_from=derive,
        build=plain,
        places=places,
    )


def derive(alpha: Mapping[str, Tensor]) -> Nasbench201Cell:
    """The cell with the heaviest operation of each edge; it may be "none", as in the benchmark's searches."""
    return Nasbench201Cell(tuple(OPERATIONS[i] for i in alpha["cell"].argmax(-1).tolist()))


def places(cell: Nasbench201Cell, name: str) -> list[Place]:
    """The places of the plain cell's operations in the relaxed cell."""
    return [(EDGES.index(edge), op) for edge, op in live_edges(cell).items()]


class RelaxedCell(nn.Module):
    """Six mixtures: [n, width, height, width] -> the same shape. `alpha` is the body's."""

    def __init__(self, alpha: Alpha, width: int, relaxation: Relaxation) -> None:
        super().__init__()
        self._alpha = (alpha,)  # in a tuple, not a child, so that parameters have one name
        self.weighs_edges = relaxation.inputs == "edges"
        divisor = relaxation.channel_divisor
        self.edges = nn.ModuleList(MixedOp(OPS, OPERATIONS, width, 1, divisor) for _ in EDGES)

    def forward(self, x: Tensor) -> Tensor:
        (alpha,) = self._alpha
        weights, chosen = alpha.operations("cell"), alpha.chosen("cell")
        inputs = alpha.shares("inputs", [len(edges) for edges in INTO]) if self.weighs_edges else None
        nodes = [x]
        for number, edges in enumerate(INTO):
            terms = [self.edges[e](nodes[EDGES[e][0]], weights[e], chosen[e]) for e in edges]
            if inputs is not None:
                terms = [inputs[number][i] * term for i, term in enumerate(terms)]
            nodes.append(total(terms))
        return nodes[-1]
