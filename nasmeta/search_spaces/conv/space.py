"""The conv space: macro architectures of freely chosen blocks, among them the 4-conv network.

Blocks differ in operation, width, norm, activation, downsampling and shortcut. So the space contains the
kinds of networks that beat 4-conv in the literature: pyramids of growing width, residual networks, more depth
between the downsamplings, squeeze-excite.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import product
from math import comb
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from nasmeta.errors import ArchitectureError, ConfigError
from nasmeta.search_spaces import options, tokens
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.conv import architecture, edits, sampling
from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock, skips
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.search_spaces.sharing import Sharing
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.morphism import Weights

# Below 4 channels the groups of group norm and the squeeze of squeeze-excite degenerate.
SMALLEST_WIDTH = 4


class ConvSpace(SearchSpace[ConvArchitecture]):
    """Networks of `min_blocks` to `max_blocks` blocks. Tasks must have images [channels, height, width].

    min_downsamples, max_downsamples: how many blocks halve height and width. widths: the allowed channels,
    ascending. ops, norms, activations, heads: names of `architecture`. downsamples: the kinds besides "none",
    which is always allowed. skip, squeeze_excite: whether blocks may have them. Raises ConfigError for lists
    and ranges that leave no space.
    """

    operations = architecture.VOCABULARY

    def __init__(
        self,
        *,
        min_blocks: Annotated[int, Field(ge=1, le=100)],
        max_blocks: Annotated[int, Field(ge=1, le=100)],
        min_downsamples: Annotated[int, Field(ge=0, le=100)],
        max_downsamples: Annotated[int, Field(ge=0, le=100)],
        widths: list[Annotated[int, Field(ge=SMALLEST_WIDTH, le=65536)]],
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
        self.min_blocks, self.max_blocks = min_blocks, max_blocks
        self.min_downsamples, self.max_downsamples = min_downsamples, max_downsamples
        self.widths = options.widths("widths", widths, SMALLEST_WIDTH)
        self.ops = options.names("ops", ops, OPERATIONS)
        self.norms = options.names("norms", norms, architecture.NORMS)
        self.activations = options.names("activations", activations, architecture.ACTIVATIONS)
        self.downsamples = options.names("downsamples", downsamples, architecture.DOWNSAMPLES[1:])
        self.heads = options.names("heads", heads, architecture.HEADS)
        self.skips = (False, True) if skip else (False,)
        self.ses = (False, True) if squeeze_excite else (False,)

    # The named networks, and what belongs to the space

    def initial(self) -> ConvArchitecture:
        """The shallowest conv3-16 network, with as few max-poolings as allowed, then average pooling."""
        return self._uniform(16, self.min_blocks, self.min_downsamples, head="gap")

    def reference(self) -> ConvArchitecture:
        """4-conv (Vinyals et al. 2016): 4 blocks of conv3x3-64, batch norm, ReLU, 2x2 max-pooling; flattened.

        If the space does not contain it, the member that comes nearest, choice by choice.
        """
        blocks = min(max(4, self.min_blocks), self.max_blocks)
        downs = min(max(4, self.min_downsamples), self.max_downsamples, blocks)
        return self._uniform(64, blocks, downs, head="flatten")

    def _uniform(self, width: int, blocks: int, downsamples: int, head: str) -> ConvArchitecture:
        """Equal conv3.bn.relu blocks, with max-pooling in the first `downsamples`, as far as allowed."""
        op, kernel = OPERATIONS[options.preferred(self.ops, "conv3")]
        block = ConvBlock(
            op=op,
            kernel=kernel,
            width=options.closest(self.widths, width),
            norm=options.preferred(self.norms, "bn"),
            activation=options.preferred(self.activations, "relu"),
            downsample="none",
        )
        down = replace(block, downsample=options.preferred(self.downsamples, "max"))
        row = (down,) * downsamples + (block,) * (blocks - downsamples)
        return ConvArchitecture(row, options.preferred(self.heads, head))

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        return {
            "blocks": self._depths,
            "operation": self.ops,
            "width": self.widths,
            "norm": self.norms,
            "activation": self.activations,
            "downsample": ("none", *self.downsamples),
            "skip": self.skips,
            "squeeze_excite": self.ses,
            "head": self.heads,
        }

    @property
    def _depths(self) -> tuple[int, ...]:
        return tuple(range(self.min_blocks, self.max_blocks + 1))

    def _problem(self, arch: ConvArchitecture) -> str | None:
        """Why `arch`, made of this space's blocks, is not in the space; None if it is."""
        count, downs = len(arch.blocks), arch.downsamplings
        if not self.min_blocks <= count <= self.max_blocks:
            return f"{count} blocks, where the space has {self.min_blocks} to {self.max_blocks}"
        if not self.min_downsamples <= downs <= self.max_downsamples:
            low, high = self.min_downsamples, self.max_downsamples
            return f"{downs} downsampling blocks, where the space has {low} to {high}"
        return None

    def contains(self, arch: ConvArchitecture) -> bool:
        """Whether `arch`, made of this space's blocks, has a number of blocks and downsamplings it allows."""
        return self._problem(arch) is None

    @property
    def size(self) -> int:
        shapes = sum(len(skips(token, self.skips)) for token in self.ops)
        plain = shapes * len(self.widths) * len(self.norms) * len(self.activations) * len(self.ses)
        total = 0
        for n in self._depths:
            for d in range(self.min_downsamples, min(self.max_downsamples, n) + 1):
                total += comb(n, d) * len(self.downsamples) ** d * plain**n
        return total * len(self.heads)

    def widened(self, number: int, rounds: int) -> "ConvSpace":
        """Narrow and shallow first: the lowest widths and depths, growing in even steps to all of them."""
        space = copy(self)
        space.widths = self.widths[: options.step(1, len(self.widths), number, rounds)]
        shallowest = max(self.min_blocks, self.max_downsamples)
        space.max_blocks = options.step(shallowest, self.max_blocks, number, rounds)
        return space

    def buildable(self, task: TaskSpec) -> "ConvSpace":
        """Limits the downsamplings to what the task's image size allows."""
        most = min(task.input_shape[1:], default=1).bit_length() - 1
        if most < self.min_downsamples:  # nothing can be built
            return self
        space = copy(self)
        space.max_downsamples = min(self.max_downsamples, most)
        return space

    # Draws and edits

    def sample(self, rng: np.random.Generator) -> ConvArchitecture:
        """A random architecture; sampling.py describes the distribution."""
        return sampling.sample(self, rng)

    def decide(self, choose: Choose) -> ConvArchitecture:
        """Decides the number of blocks, then each block's attributes, then the head.

        A block can downsample only while more downsamplings are allowed, and must if all remaining blocks are
        needed for them.
        """
        blocks: list[ConvBlock] = []
        downsamplings = 0
        for left in range(choose("blocks", self._depths), 0, -1):
            token = choose("operation", self.ops)
            op, kernel = OPERATIONS[token]
            may = self.downsamples if downsamplings < self.max_downsamples else ()
            need_not = ("none",) if downsamplings + left > self.min_downsamples else ()
            block = ConvBlock(
                op=op,
                width=choose("width", self.widths),
                kernel=kernel,
                norm=choose("norm", self.norms),
                activation=choose("activation", self.activations),
                downsample=choose("downsample", (*need_not, *may)),
                skip=choose("skip", skips(token, self.skips)),
                se=choose("squeeze_excite", self.ses),
            )
            downsamplings += block.downsamples
            blocks.append(block)
        return ConvArchitecture(tuple(blocks), choose("head", self.heads))

    def mutate(self, arch: ConvArchitecture, rng: np.random.Generator) -> ConvArchitecture:
        return edits.mutate(self, arch, rng)

    def crossover(
        self, a: ConvArchitecture, b: ConvArchitecture, rng: np.random.Generator
    ) -> ConvArchitecture:
        return edits.crossover(self, a, b, rng)

    def neighbors(self, arch: ConvArchitecture) -> Iterator[ConvArchitecture]:
        return edits.neighbors(self, arch)

    # Strings, graphs, networks and their weights

    def parse(self, text: str) -> ConvArchitecture:
        arch = architecture.parse(text, self.decisions)
        problem = self._problem(arch)
        if problem:
            raise ArchitectureError(f"{tokens.quote(text)} is not in the search space: {problem}")
        return arch

    def graph(self, arch: ConvArchitecture) -> ArchitectureGraph:
        return architecture.graph(arch)

    @property
    def max_nodes(self) -> int:
        """The largest possible number of nodes of a graph, for fixed-length encodings."""
        return self.max_blocks * architecture.NODES_PER_BLOCK + architecture.NODES_BESIDE_BLOCKS

    def build(self, arch: ConvArchitecture, task: TaskSpec) -> "FewShotNetwork":
        from nasmeta.search_spaces.conv.network import build

        return build(arch, task)

    def sharing(self, task: TaskSpec) -> Sharing[ConvArchitecture]:
        from nasmeta.search_spaces.conv.weights import shared_name

        return Sharing(
            largest=lambda: self._largest(task), name=lambda arch, name: shared_name(arch, name, task)
        )

    def _largest(self, task: TaskSpec) -> Iterator[ConvArchitecture]:
        """Architectures with every operation at full width and depth, every projection, and every head."""
        wide, next_widest = self.widths[-1], self.widths[-2:][0]
        depth = self.max_blocks
        for token, norm in product(self.ops, self.norms):
            block = self._widest(token, norm)
            rows = [(block,) * depth]
            narrower = replace(block, width=next_widest)
            if block.shortcut and wide != next_widest:  # a change of width is projected
                rows += [tuple((block, narrower)[(i + odd) % 2] for i in range(depth)) for odd in (0, 1)]
            elif block.shortcut and "stride" in self.downsamples:
                strided = replace(block, downsample="stride")
                rows += [(block,) * i + (strided,) + (block,) * (depth - i - 1) for i in range(depth)]
            yield from (ConvArchitecture(row, self.heads[0]) for row in rows)
        yield from self._all_heads(task)

    def _widest(self, token: str, norm: str) -> ConvBlock:
        op, kernel = OPERATIONS[token]
        skip, se = skips(token, self.skips)[-1], self.ses[-1]
        return ConvBlock(op, self.widths[-1], kernel, norm, self.activations[0], "none", skip, se)

    def _all_heads(self, task: TaskSpec) -> Iterator[ConvArchitecture]:
        """An architecture for each head size: pooling drops an odd last row, a stride does not."""
        from nasmeta.search_spaces.conv.network import final_size

        plain = self._widest(self.ops[0], self.norms[0])
        smallest = min(task.input_shape[1:], default=0)
        seen = set()
        for count in range(self.min_downsamples, self.max_downsamples + 1):
            for kinds in product(self.downsamples, repeat=count) if 2**count <= smallest else ():
                row = tuple(replace(plain, downsample=kind) for kind in kinds) or (plain,)
                for head in self.heads:
                    arch = ConvArchitecture(row, head)
                    key = head, final_size(arch, task) if head == "flatten" else None
                    if key not in seen:
                        seen.add(key)
                        yield arch

    def morph(
        self,
        old: ConvArchitecture,
        new: ConvArchitecture,
        weights: "Weights",
        fresh: "Weights",
        rng: np.random.Generator,
    ) -> "Weights":
        from nasmeta.search_spaces.conv.weights import morph

        return morph(old, new, weights, fresh, rng)
