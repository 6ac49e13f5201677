"""The DARTS space (Liu, Simonyan & Yang 2019, arXiv:1806.09055) with the few-shot operations of MetaNAS.

A network repeats two small cells, a normal one and one that halves the size. The operations are the seven of
Elsken et al. 2020 (arXiv:1911.11090): pooling, skip, and convolutions that are cheap enough for few-shot
learning. The space of the weight-sharing methods, and the one to choose for finding cells rather than whole
networks: what is found at one width and depth is built at another.

From the authors' code (boschresearch/metanas): "conv_3x3" is one depthwise-separable convolution and
"sep_conv_3x3" two of them, poolings are followed by a norm, and there is no "none" in a genotype. Without
the papers' drop-path and auxiliary heads, which are ways to train.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import comb, prod
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from nasmeta.errors import ConfigError
from nasmeta.relaxation import Relaxation
from nasmeta.search_spaces import options
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.darts import decisions, edits, isomorphism, strings
from nasmeta.search_spaces.darts.architecture import INPUTS, OPERATIONS, DartsGenotype
from nasmeta.search_spaces.darts.graph import VOCABULARY, graph, max_nodes
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.relaxed import RelaxedNetwork


class DartsSpace(SearchSpace[DartsGenotype]):
    """See the head of this file. Networks take images [channels, height, width].

    ops: names of `architecture.OPERATIONS`; nodes: of a cell, its inputs not counted; width: channels of a
    node before the first reduction; layers: cells; reductions: which of them, from 0, are reduction cells,
    None for those after a third and two thirds, as in the paper. Raises ConfigError for an unknown
    operation and for reductions that are no cells or do not ascend.
    """

    operations = VOCABULARY

    def __init__(
        self,
        *,
        nodes: Annotated[int, Field(ge=1, le=7)],
        ops: list[str],
        width: Annotated[int, Field(ge=4)],
        layers: Annotated[int, Field(ge=1)],
        reductions: list[Annotated[int, Field(ge=0)]] | None,
    ) -> None:
        self._nodes = nodes
        self._ops = options.names("ops", ops, OPERATIONS)
        self._width, self._layers = width, layers
        self._reductions = _checked(reductions, layers)

    def initial(self) -> DartsGenotype:
        """Every node is a 3x3 convolution of the last cell's output and a skip from the cell before it."""
        conv, skip = self._preferred("conv_3x3")
        cell = (((skip, 0), (conv, 1)),) * self._nodes
        return DartsGenotype(cell, cell)

    def reference(self) -> DartsGenotype:
        """A residual chain: every node is its last state separably convolved, plus a skip around that."""
        conv, skip = self._preferred("sep_conv_3x3")
        cell = tuple(((skip, number), (conv, number + 1)) for number in range(self._nodes))
        return DartsGenotype(cell, cell)

    def _preferred(self, conv: str) -> tuple[str, str]:
        return options.preferred(self._ops, conv), options.preferred(self._ops, "skip_connect")

    def sample(self, rng: np.random.Generator) -> DartsGenotype:
        return edits.sample(self._ops, self._nodes, rng)

    def mutate(self, arch: DartsGenotype, rng: np.random.Generator) -> DartsGenotype:
        return edits.mutate(self._ops, arch, rng)

    def crossover(self, a: DartsGenotype, b: DartsGenotype, rng: np.random.Generator) -> DartsGenotype:
        return edits.crossover(a, b, rng)

    def neighbors(self, arch: DartsGenotype) -> Iterator[DartsGenotype]:
        return edits.neighbors(self._ops, arch)

    def canonical(self, arch: DartsGenotype) -> DartsGenotype:
        return isomorphism.canonical(arch)

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        return decisions.decisions(self._ops, self._nodes)

    def decide(self, choose: Choose) -> DartsGenotype:
        return decisions.decide(self._ops, self._nodes, choose)

    def graph(self, arch: DartsGenotype) -> ArchitectureGraph:
        return graph(arch)

    def parse(self, text: str) -> DartsGenotype:
        return strings.parse(text, self._ops, self._nodes)

    def build(self, arch: DartsGenotype, task: TaskSpec) -> "FewShotNetwork":
        from nasmeta.search_spaces.darts.network import build

        return build(arch, task, width=self._width, layers=self._layers, reductions=self._reductions)

    def relaxed(self, task: TaskSpec, relaxation: Relaxation) -> "RelaxedNetwork":
        from nasmeta.search_spaces.darts.relaxed import relaxed

        return relaxed(
            task,
            relaxation,
            operations=self._ops,
            nodes=self._nodes,
            width=self._width,
            layers=self._layers,
            reductions=self._reductions,
        )

    @property
    def size(self) -> int:
        """A pair of states and two operations a node, in two cells."""
        cell = prod(comb(INPUTS + number, 2) * len(self._ops) ** 2 for number in range(self._nodes))
        return int(cell**2)

    @property
    def max_nodes(self) -> int:
        """The nodes of every graph, for fixed-length encodings."""
        return max_nodes(self._nodes)


def _checked(reductions: list[int] | None, layers: int) -> tuple[int, ...]:
    if reductions is None:
        return tuple(sorted({layers // 3, 2 * layers // 3}))
    if sorted(set(reductions)) != reductions:
        raise ConfigError(f"search_space.reductions: {reductions} must ascend, each cell once")
    if reductions and not 0 <= reductions[0] <= reductions[-1] < layers:
        raise ConfigError(
            f"search_space.reductions: {reductions} are not all among search_space.layers={layers} cells; "
            f"use 0 to {layers - 1}"
        )
    return tuple(reductions)
