"""The conv space: macro architectures of freely chosen blocks, the 4-conv network among them.

Blocks differ in operation, width, norm, activation, downsampling and shortcut, so the space holds the
kinds of networks that beat 4-conv in the literature: pyramids of growing width, residual networks, more
depth between the downsamplings, squeeze-excite.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from nasmeta.errors import ConfigError
from nasmeta.search_spaces import options
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.conv import architecture, decisions, edits, sampling, sharing, strings
from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock
from nasmeta.search_spaces.conv.choices import SMALLEST_WIDTH, ConvChoices
from nasmeta.search_spaces.conv.graph import NODES_BESIDE_BLOCKS, NODES_PER_BLOCK, VOCABULARY, graph
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.search_spaces.sharing import Sharing
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.morphism import Weights


class ConvSpace(SearchSpace[ConvArchitecture]):
    """See the head of this file. Tasks must have images [channels, height, width].

    The names of `ops`, `norms`, `activations`, `downsamples` and `heads` are those of `architecture`;
    `downsamples` are the kinds, "none" is always allowed; `skip` and `squeeze_excite` say whether blocks may
    have them. Raises ConfigError for lists and ranges that make no space.
    """

    operations = VOCABULARY

    def __init__(
        self,
        *,
        min_blocks: Annotated[int, Field(ge=1)],
        max_blocks: Annotated[int, Field(ge=1)],
        min_downsamples: Annotated[int, Field(ge=0)],
        max_downsamples: Annotated[int, Field(ge=0)],
        widths: list[Annotated[int, Field(ge=SMALLEST_WIDTH)]],
        ops: list[str],
        norms: list[str],
        activations: list[str],
        downsamples: list[str],
        heads: list[str],
        skip: bool,
        squeeze_excite: bool,
    ) -> None:
        if min_blocks < 1:
            raise ConfigError(f"search_space.min_blocks={min_blocks}: a network has at least 1 block")
        if min_downsamples < 0:
            raise ConfigError(f"search_space.min_downsamples={min_downsamples}: use 0 or more")
        options.ordered("min_blocks", min_blocks, "max_blocks", max_blocks)
        options.ordered("min_downsamples", min_downsamples, "max_downsamples", max_downsamples)
        options.ordered("min_downsamples", min_downsamples, "min_blocks", min_blocks)
        options.ordered("max_downsamples", max_downsamples, "max_blocks", max_blocks)
        self._choices = ConvChoices(
            operations=options.names("ops", ops, OPERATIONS),
            widths=options.widths("widths", widths, SMALLEST_WIDTH),
            norms=options.names("norms", norms, architecture.NORMS),
            activations=options.names("activations", activations, architecture.ACTIVATIONS),
            downsamples=options.names("downsamples", downsamples, architecture.DOWNSAMPLES[1:]),
            heads=options.names("heads", heads, architecture.HEADS),
            skip=skip,
            se=squeeze_excite,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            min_downsamples=min_downsamples,
            max_downsamples=max_downsamples,
        )

    def initial(self) -> ConvArchitecture:
        """The shallowest conv3-16 network: as many max-poolings as it needs, then the average position."""
        allowed = self._choices
        return self._uniform(16, allowed.min_blocks, allowed.min_downsamples, head="gap")

    def reference(self) -> ConvArchitecture:
        """4-conv (Vinyals et al. 2016): 4 blocks of conv3x3-64, batch norm, ReLU, 2x2 max-pooling; flattened.

        A space that was configured without it gives the member that comes nearest, choice by choice.
        """
        allowed = self._choices
        blocks = min(max(4, allowed.min_blocks), allowed.max_blocks)
        downs = min(max(4, allowed.min_downsamples), allowed.max_downsamples, blocks)
        return self._uniform(64, blocks, downs, head="flatten")

    def _uniform(self, width: int, blocks: int, downsamples: int, head: str) -> ConvArchitecture:
        """Equal conv3.bn.relu blocks, the first `downsamples` with max-pooling, as far as allowed."""
        allowed = self._choices
        op, kernel = OPERATIONS[options.preferred(allowed.operations, "conv3")]
        kind = options.preferred(allowed.downsamples, "max")
        block = ConvBlock(
            op=op,
            kernel=kernel,
            width=options.closest(allowed.widths, width),
            norm=options.preferred(allowed.norms, "bn"),
            activation=options.preferred(allowed.activations, "relu"),
            downsample="none",
        )
        down = replace(block, downsample=kind)
        row = (down,) * downsamples + (block,) * (blocks - downsamples)
        return ConvArchitecture(row, options.preferred(allowed.heads, head))

    def sample(self, rng: np.random.Generator) -> ConvArchitecture:
        return sampling.sample(self._choices, rng)

    def mutate(self, arch: ConvArchitecture, rng: np.random.Generator) -> ConvArchitecture:
        return edits.mutate(self._choices, arch, rng)

    def crossover(
        self, a: ConvArchitecture, b: ConvArchitecture, rng: np.random.Generator
    ) -> ConvArchitecture:
        return edits.crossover(self._choices, a, b, rng)

    def neighbors(self, arch: ConvArchitecture) -> Iterator[ConvArchitecture]:
        return edits.neighbors(self._choices, arch)

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        return decisions.decisions(self._choices)

    def decide(self, choose: Choose) -> ConvArchitecture:
        return decisions.decide(self._choices, choose)

    def graph(self, arch: ConvArchitecture) -> ArchitectureGraph:
        return graph(arch)

    def parse(self, text: str) -> ConvArchitecture:
        return strings.parse(text, self._choices)

    def build(self, arch: ConvArchitecture, task: TaskSpec) -> "FewShotNetwork":
        from nasmeta.search_spaces.conv.network import build

        return build(arch, task)

    def sharing(self, task: TaskSpec) -> Sharing[ConvArchitecture]:
        return sharing.sharing(self._choices, task)

    def morph(
        self,
        old: ConvArchitecture,
        new: ConvArchitecture,
        weights: "Weights",
        fresh: "Weights",
        rng: np.random.Generator,
    ) -> "Weights":
        from nasmeta.search_spaces.conv.morph import morph

        return morph(old, new, weights, fresh, rng)

    def widened(self, number: int, rounds: int) -> "ConvSpace":
        """Narrow and shallow first: the lowest widths and depths, in even steps up to all of them."""
        whole = self._choices
        space = copy(self)
        space._choices = replace(
            whole,
            widths=whole.widths[: options.step(1, len(whole.widths), number, rounds)],
            max_blocks=options.step(
                max(whole.min_blocks, whole.max_downsamples), whole.max_blocks, number, rounds
            ),
        )
        return space

    @property
    def size(self) -> int:
        return self._choices.size()

    @property
    def max_nodes(self) -> int:
        """The most nodes that a graph can have, for fixed-length encodings."""
        return self._choices.max_blocks * NODES_PER_BLOCK + NODES_BESIDE_BLOCKS
