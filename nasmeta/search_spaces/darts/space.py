"""The DARTS space (Liu, Simonyan & Yang 2019, arXiv:1806.09055) with the few-shot operations of MetaNAS.

A network repeats two small cells, a normal one and one that halves the size. The seven operations are those
of Elsken et al. 2020 (arXiv:1911.11090): pooling, skip, and convolutions that are cheap enough for few-shot
learning. Weight-sharing methods are usually compared on this space. Choose it to find cells rather than whole
networks: what is found at one width and depth can be built at another.

Following the authors' code (boschresearch/metanas), "conv_3x3" is one depthwise-separable convolution and
"sep_conv_3x3" two, poolings are followed by a norm, and a genotype has no "none". The papers' drop-path and
auxiliary heads are left out, because they belong to training.

One edit is the mutation of Real et al. 2019 (arXiv:1802.01548, section 3.1): another operation on one edge,
or another source state of one edge. Every edit can be undone by one edit, and edits connect the space.

Draws are uniform, whatever the limits, because width and layers decide what a network costs. A genotype
beyond the limits gets cheaper operations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations
from math import comb, prod
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from nasmeta.errors import ArchitectureError, ConfigError
from nasmeta.search_spaces import options
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.darts import architecture
from nasmeta.search_spaces.darts.architecture import CELLS, INPUTS, OPERATIONS, Cell, DartsGenotype, Node
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.search_spaces.sequence import choose
from nasmeta.search_spaces.sharing import Sharing, edge_name
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.relaxation.mixture import RelaxedNetwork


COST_CLASSES = {
    "conv_1x5_5x1": 3,
    "sep_conv_3x3": 2,
    "conv_3x3": 1,
    "dil_conv_3x3": 1,
    "skip_connect": 0,
    "max_pool_3x3": 0,
    "avg_pool_3x3": 0,
}
"""The operations, ranked by parameters and FLOPs."""


class DartsSpace(SearchSpace[DartsGenotype]):
    """Genotypes with `nodes` nodes per cell. Networks take images [channels, height, width].

    nodes: per cell, without the two inputs. ops: which of architecture.OPERATIONS are allowed.
    width: channels of a node before the first reduction. widening: the factor by which each reduction widens
    the nodes. layers: the number of cells.
    reductions: the indices, from 0, of the reduction cells; None puts them after a third and two thirds of
    the cells, as in the paper.
    Raises ConfigError if an operation is unknown, or if reductions are not ascending indices of cells.
    """

    operations = architecture.VOCABULARY

    def __init__(
        self,
        *,
        nodes: Annotated[int, Field(ge=1, le=7)],
        ops: list[str],
        width: Annotated[int, Field(ge=4, le=65536)],
        widening: Annotated[int, Field(ge=1, le=4)],
        layers: Annotated[int, Field(ge=1, le=100)],
        reductions: list[Annotated[int, Field(ge=0)]] | None,
    ) -> None:
        self.nodes = nodes
        self.ops = options.names("ops", ops, OPERATIONS)
        self.width, self.widening, self.layers = width, widening, layers
        self.reductions = _checked(reductions, layers)

    # The named networks, and how many there are

    def initial(self) -> DartsGenotype:
        """In every node: a 3x3 convolution of the previous cell and a skip from the cell before it."""
        conv, skip = self._preferred("conv_3x3")
        cell = (((skip, 0), (conv, 1)),) * self.nodes
        return DartsGenotype(cell, cell)

    def reference(self) -> DartsGenotype:
        """A residual chain: every node is a separable convolution of its last state plus a skip around it."""
        conv, skip = self._preferred("sep_conv_3x3")
        cell = tuple(((skip, number), (conv, number + 1)) for number in range(self.nodes))
        return DartsGenotype(cell, cell)

    def _preferred(self, conv: str) -> tuple[str, str]:
        return options.preferred(self.ops, conv), options.preferred(self.ops, "skip_connect")

    @property
    def size(self) -> int:
        """The number of genotypes: pairs of states times operations squared, over all nodes of both cells."""
        cell = prod(comb(INPUTS + number, 2) * len(self.ops) ** 2 for number in range(self.nodes))
        return int(cell**2)

    # Draws and edits

    def sample(self, rng: np.random.Generator) -> DartsGenotype:
        """Uniform over all genotypes: the pair of states and both operations of every node."""
        pairs = [list(combinations(range(INPUTS + number), 2)) for number in range(self.nodes)]
        bounds = [bound for pair in pairs for bound in (len(pair), len(self.ops), len(self.ops))]
        draws = iter(rng.integers(bounds * len(CELLS)).tolist())

        def cell() -> Cell:
            drawn = []
            for pair in pairs:
                first, second = pair[next(draws)]
                drawn.append(((self.ops[next(draws)], first), (self.ops[next(draws)], second)))
            return tuple(drawn)

        return DartsGenotype(cell(), cell())

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        """The options of each decision; the two cells have no kind in common."""
        states = tuple(range(INPUTS + self.nodes - 1))
        kinds: tuple[tuple[str, tuple[object, ...]], ...] = (("state", states), ("operation", self.ops))
        return {f"{cell} {kind}": options for cell in CELLS for kind, options in kinds}

    def decide(self, choose: Choose) -> DartsGenotype:
        """For each node decides the earlier state and its operation, then the later: one order per pair."""

        def node(cell: str, states: int) -> Node:
            state, operation = f"{cell} state", f"{cell} operation"
            first = choose(state, range(states - 1))
            first_operation = choose(operation, self.ops)
            second = choose(state, range(first + 1, states))
            return (first_operation, first), (choose(operation, self.ops), second)

        normal, reduce = (
            tuple(node(cell, INPUTS + number) for number in range(self.nodes)) for cell in CELLS
        )
        return DartsGenotype(normal, reduce)

    def mutate(self, arch: DartsGenotype, rng: np.random.Generator) -> DartsGenotype:
        """Changes an operation or a state, with equal chance, of a random edge of a random cell.

        If only one of the two can change in this space, that one does. Raises ArchitectureError if `arch` is
        the only architecture of the space.
        """
        can_rename, can_rewire = len(self.ops) > 1, self.nodes > 1
        if not can_rename and not can_rewire:
            raise ArchitectureError(f"{arch} has no neighbour: the search space has one architecture")
        rename = can_rename and (not can_rewire or rng.random() < 0.5)
        name = CELLS[int(rng.integers(len(CELLS)))]
        cell: Cell = getattr(arch, name)
        # The first node uses both inputs of the cell, so there is no other state for it.
        number = int(rng.integers(0 if rename else 1, self.nodes))
        side = int(rng.integers(2))
        edited = list(self._renamed(cell[number], side) if rename else _rewired(cell[number], side, number))
        return _with_node(arch, name, number, edited[int(rng.integers(len(edited)))])

    def cheaper(self, arch: DartsGenotype, rng: np.random.Generator) -> DartsGenotype | None:
        """The operation of a random edge that has a cheaper one gets the next cheaper of the space."""
        edges = []
        for name, number, old, side in _edges(arch):
            below = [other for other in self.ops if COST_CLASSES[other] < COST_CLASSES[old[side][0]]]
            if below:
                edges.append((name, number, old, side, max(below, key=COST_CLASSES.__getitem__)))
        chosen = choose(edges, rng)
        if chosen is None:
            return None
        name, number, old, side, op = chosen
        return _with_node(arch, name, number, architecture.node((op, old[side][1]), old[1 - side]))

    def neighbors(self, arch: DartsGenotype) -> Iterator[DartsGenotype]:
        for name, number, old, side in _edges(arch):
            for new in chain(self._renamed(old, side), _rewired(old, side, number)):
                yield _with_node(arch, name, number, new)

    def _renamed(self, old: Node, side: int) -> Iterator[Node]:
        (op, state), other = old[side], old[1 - side]
        for new in self.ops:
            if new != op:
                yield architecture.node((new, state), other)

    def crossover(self, a: DartsGenotype, b: DartsGenotype, rng: np.random.Generator) -> DartsGenotype:
        """Takes every node, with both its edges, from either parent with equal chance."""
        first = iter(rng.integers(2, size=len(CELLS) * len(a.normal)).tolist())
        normal, reduce = (
            tuple(x if next(first) else y for x, y in zip(mine, theirs, strict=True))
            for mine, theirs in ((a.normal, b.normal), (a.reduce, b.reduce))
        )
        return DartsGenotype(normal, reduce)

    # Strings, graphs, networks and their weights

    canonical = staticmethod(architecture.canonical)
    graph = staticmethod(architecture.graph)

    def parse(self, text: str) -> DartsGenotype:
        return architecture.parse(text, self.ops, self.nodes)

    def build(self, arch: DartsGenotype, task: TaskSpec) -> "FewShotNetwork":
        from nasmeta.search_spaces.darts.network import build

        return build(self, arch, task)

    def relaxed(self, task: TaskSpec, relaxation: Relaxation) -> "RelaxedNetwork":
        from nasmeta.search_spaces.darts.relaxed import relaxed

        return relaxed(self, task, relaxation)

    def sharing(self, task: TaskSpec) -> Sharing[DartsGenotype]:
        """Each cell has one set of weights for each operation on each pair of an earlier state and a node.

        Stem, input preparations of the cells, and head are shared by all networks. No width varies.
        """
        return Sharing(largest=self._largest, name=self._shared_name)

    def _shared_name(self, arch: DartsGenotype, name: str) -> str:
        place = name.split(".")  # body.cells.3.nodes.ops.5.1.weight
        reduce = place[1] == "cells" and int(place[2]) in self.reductions
        return edge_name(name, architecture.edges(arch.reduce if reduce else arch.normal))

    def _largest(self) -> Iterator[DartsGenotype]:
        """Genotypes that put each operation between every earlier state and every node."""
        for op in self.ops:
            for first in range(self.nodes):
                cell = tuple(((op, min(first, node)), (op, node + 1)) for node in range(self.nodes))
                yield DartsGenotype(cell, cell)


def _checked(reductions: list[int] | None, layers: int) -> tuple[int, ...]:
    if reductions is None:
        return tuple(sorted({layers // 3, 2 * layers // 3}))
    if reductions != [cell for cell in range(layers) if cell in reductions]:
        raise ConfigError(
            f"search_space.reductions: {reductions} must be ascending, out of 0 to {layers - 1} "
            f"(search_space.layers={layers})"
        )
    return tuple(reductions)


def _edges(arch: DartsGenotype) -> Iterator[tuple[str, int, Node, int]]:
    """Every edge: the name of its cell, the number of its node there, that node, and which of its two."""
    for name in CELLS:
        for number, node in enumerate(getattr(arch, name)):
            yield from ((name, number, node, side) for side in range(2))


def _rewired(old: Node, side: int, number: int) -> Iterator[Node]:
    (op, state), other = old[side], old[1 - side]
    for new in range(INPUTS + number):
        if new not in (state, other[1]):
            yield architecture.node((op, new), other)


def _with_node(arch: DartsGenotype, name: str, number: int, new: Node) -> DartsGenotype:
    old: Cell = getattr(arch, name)
    return replace(arch, **{name: (*old[:number], new, *old[number + 1 :])})
