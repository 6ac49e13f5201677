"""The NAS-Bench-201 space (Dong & Yang 2020, arXiv:2001.00326): one cell of 6 edges, 5 operations on each.

It has 15,625 cells, few enough to enumerate, and the benchmark trained all of them. With `evaluator=tabular`
a strategy is tried on its tables in seconds. With any other evaluator the same cells are meta-trained in the
benchmark's skeleton, at the width and depth chosen here.

The space contains the 341 cells whose output is not connected to their input, as the benchmark does. Such a
network has the same output for all inputs, so every evaluator scores it at chance.

Draws are uniform, whatever the limits, because width, stages and repeats decide what a network costs. A cell
beyond the limits gets cheaper operations.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.nasbench201 import architecture
from nasmeta.search_spaces.nasbench201.architecture import EDGES, OPERATIONS, Nasbench201Cell, live_edges
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.search_spaces.sequence import choose
from nasmeta.search_spaces.sharing import Sharing, edge_name
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.relaxation.mixture import RelaxedNetwork


CHEAPER = {"nor_conv_3x3": "nor_conv_1x1", "nor_conv_1x1": "skip_connect"}
"""What may take the place of an operation that costs too much."""


class Nasbench201Space(SearchSpace[Nasbench201Cell]):
    """All 15,625 cells, in a network of a chosen size. Networks take images [channels, height, width].

    width: channels of the first stage; every later stage doubles them. stages: the number of stages, each
    half as high and wide as the one before. repeats: cells per stage. The benchmark has 16, 3 and 5.
    """

    operations = architecture.VOCABULARY
    canonical = staticmethod(architecture.canonical)
    graph = staticmethod(architecture.graph)
    parse = staticmethod(architecture.parse)

    def __init__(
        self,
        *,
        width: Annotated[int, Field(ge=4, le=65536)],
        stages: Annotated[int, Field(ge=1, le=16)],
        repeats: Annotated[int, Field(ge=1, le=100)],
    ) -> None:
        self.width, self.stages, self.repeats = width, stages, repeats

    def initial(self) -> Nasbench201Cell:
        """One 3x3 convolution from the input to the output."""
        return Nasbench201Cell(("none", "none", "none", "nor_conv_3x3", "none", "none"))

    def reference(self) -> Nasbench201Cell:
        """The basic block of a residual network ("ResNet" cell): two 3x3 convolutions and a shortcut."""
        return Nasbench201Cell(
            ("nor_conv_3x3", "none", "nor_conv_3x3", "skip_connect", "none", "skip_connect")
        )

    def sample(self, rng: np.random.Generator) -> Nasbench201Cell:
        """Uniform over all strings."""
        return Nasbench201Cell(
            tuple(OPERATIONS[i] for i in rng.integers(len(OPERATIONS), size=len(EDGES)).tolist())
        )

    def mutate(self, arch: Nasbench201Cell, rng: np.random.Generator) -> Nasbench201Cell:
        """Another operation on one edge; both are uniform draws."""
        edge, step = divmod(int(rng.integers(len(EDGES) * (len(OPERATIONS) - 1))), len(OPERATIONS) - 1)
        old = OPERATIONS.index(arch.ops[edge])
        return _replaced(arch, edge, OPERATIONS[(old + 1 + step) % len(OPERATIONS)])

    def cheaper(self, arch: Nasbench201Cell, rng: np.random.Generator) -> Nasbench201Cell | None:
        """A 3x3 convolution becomes a 1x1, or a 1x1 a skip, on a random edge that has one."""
        edges = [edge for edge, op in enumerate(arch.ops) if op in CHEAPER]
        edge = choose(edges, rng)
        return None if edge is None else _replaced(arch, edge, CHEAPER[arch.ops[edge]])

    def crossover(self, a: Nasbench201Cell, b: Nasbench201Cell, rng: np.random.Generator) -> Nasbench201Cell:
        """Takes each edge from either parent with equal chance."""
        first = rng.integers(2, size=len(EDGES)).tolist()
        return Nasbench201Cell(tuple(x if f else y for x, y, f in zip(a.ops, b.ops, first, strict=True)))

    def neighbors(self, arch: Nasbench201Cell) -> Iterator[Nasbench201Cell]:
        """The 24 cells that have another operation on one edge."""
        for edge, old in enumerate(arch.ops):
            for op in OPERATIONS:
                if op != old:
                    yield _replaced(arch, edge, op)

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        """The options of each edge. Each edge is a kind of its own, because no two have the same role."""
        return {f"{source}->{target}": OPERATIONS for source, target in EDGES}

    def decide(self, choose: Choose) -> Nasbench201Cell:
        """Decides the operation of each edge, in order."""
        return Nasbench201Cell(tuple(choose(edge, OPERATIONS) for edge in self.decisions))

    def build(self, arch: Nasbench201Cell, task: TaskSpec) -> "FewShotNetwork":
        from nasmeta.search_spaces.nasbench201.network import build

        return build(self, arch, task)

    def sharing(self, task: TaskSpec) -> Sharing[Nasbench201Cell]:
        """Each cell of the network has one set of weights for each operation on each edge.

        All networks share the skeleton (stem, reductions, head). No width varies.
        """
        cells = [Nasbench201Cell((op,) * len(EDGES)) for op in OPERATIONS]
        return Sharing(largest=lambda: cells, name=lambda cell, name: edge_name(name, live_edges(cell)))

    def relaxed(self, task: TaskSpec, relaxation: Relaxation) -> "RelaxedNetwork":
        from nasmeta.search_spaces.nasbench201.relaxed import relaxed

        return relaxed(self, task, relaxation)

    @property
    def size(self) -> int:
        return int(len(OPERATIONS) ** len(EDGES))


def _replaced(cell: Nasbench201Cell, edge: int, op: str) -> Nasbench201Cell:
    return Nasbench201Cell((*cell.ops[:edge], op, *cell.ops[edge + 1 :]))
