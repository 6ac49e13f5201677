"""The conv space: macro architectures of freely chosen blocks, among them the 4-conv network.

Blocks differ in operation, width, norm, activation, downsampling and shortcut. So the space contains the
kinds of networks that beat 4-conv in the literature: pyramids of growing width, residual networks, more depth
between the downsamplings, squeeze-excite.

Besides the edits of every sequence (sequence_space.py), a downsampling moves to the next or the previous
block, and the head changes. An operation that changes to or from "res" may remove or add the skip, which
"res" does not have. Edits connect the space.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import comb
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from nasmeta.search_spaces import options
from nasmeta.search_spaces.conv import architecture, cost, sampling, weights
from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock, skips
from nasmeta.search_spaces.count import Bits
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.sequence_space import SequenceSpace
from nasmeta.search_spaces.sharing import Sharing
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork

# Below 4 channels the groups of group norm and the squeeze of squeeze-excite degenerate.
SMALLEST_WIDTH = 4


class ConvSpace(SequenceSpace[ConvArchitecture, ConvBlock]):
    """Networks of `min_blocks` to `max_blocks` blocks. Tasks must have images [channels, height, width].

    min_downsamples, max_downsamples: how many blocks halve height and width. widths: the allowed channels,
    ascending. ops, norms, activations, heads: names of `architecture`. downsamples: the kinds besides "none",
    which is always allowed. skip, squeeze_excite: whether blocks may have them. Raises ConfigError for lists
    and ranges that leave no space.
    """

    operations = architecture.VOCABULARY
    block_name = "block"
    grows = staticmethod(weights.grows)
    transparent = staticmethod(weights.transparent)
    graph = staticmethod(architecture.graph)

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
        options.ordered("min_blocks", min_blocks, "max_blocks", max_blocks)
        options.ordered("min_downsamples", min_downsamples, "max_downsamples", max_downsamples)
        options.ordered("min_downsamples", min_downsamples, "min_blocks", min_blocks)
        options.ordered("max_downsamples", max_downsamples, "max_blocks", max_blocks)
        self.min_downsamples, self.max_downsamples = min_downsamples, max_downsamples
        channels = options.widths("widths", widths)
        super().__init__(fewest=min_blocks, most=max_blocks, widths=channels)
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
        return self._uniform(options.closest(self.widths, 16), self.fewest, self.min_downsamples, head="gap")

    def reference(self) -> ConvArchitecture:
        """4-conv (Vinyals et al. 2016): 4 blocks of conv3x3-64, batch norm, ReLU, 2x2 max-pooling; flattened.

        If the space does not contain it, the member that comes nearest, choice by choice.
        """
        return self.reference_of(options.closest(self.widths, 64))

    def reference_of(self, width: int) -> ConvArchitecture:
        blocks = min(max(4, self.fewest), self.most)
        downs = min(max(4, self.min_downsamples), self.max_downsamples, blocks)
        return self._uniform(width, blocks, downs, head="flatten")

    def forms(self) -> Iterator[ConvArchitecture]:
        """Separable convolutions, shortcuts, larger last maps, group norm, wide ends, twice the depth.

        A larger last map is averaged: flattened, it would be a long embedding. Separable convolutions after
        the first block allow widths twice as large for as many parameters. Of the two poolings, the average
        did better on omniglot-small and icons, and the maximum on emoji (2026-11-27).

        Some forms are for learners that adapt by gradient steps. Twice the depth with averages: after 300
        meta-iterations of two tasks MAML has 94.7 % on omniglot-small, with maxima 92.9, the reference 87.8;
        on glyphs 95.8, 94.4 and 94.0 %. The last forms are separable ones with the reference's norm: one
        inner step of MAML hardly tells the classes apart in a network with group norm (about 40 to 66 % on
        omniglot-small).
        """
        reference = self.reference()
        count, half = len(reference.blocks), max(reference.widths[0] // 2, 1)
        grows = [half * 2**i for i in range(count)]
        wide_last = self.with_widths(reference, [half * (1 + (2 * i >= count)) for i in range(count)])
        grouped = options.preferred(self.norms, "gn")
        group_norm = tuple(replace(b, norm=grouped) for b in reference.blocks)
        kept = max(self.min_downsamples, 3)
        fewer = ConvArchitecture(
            tuple(replace(b, downsample="none") if i >= kept else b for i, b in enumerate(group_norm)),
            options.preferred(self.heads, "gap"),
        )
        residual = tuple(replace(b, skip=self.skips[-1] and b.op != "res") for b in fewer.blocks)
        separable = list(self._separable(fewer, [half * 2 ** min(i + 1, 3) for i in range(count)]))
        yield from separable
        yield self.with_widths(replace(fewer, blocks=residual), grows)
        yield self.with_widths(fewer, grows)
        yield self.with_widths(replace(reference, blocks=group_norm), wide_last.widths)
        if 2 * count <= self.most:
            yield self._deep(reference, [half * (2 + i // 2) for i in range(2 * count)])
        yield wide_last
        yield self.with_widths(reference, grows)
        norm = reference.blocks[0].norm
        yield from (replace(a, blocks=tuple(replace(b, norm=norm) for b in a.blocks)) for a in separable)

    def _deep(self, plain: ConvArchitecture, widths: list[int]) -> ConvArchitecture:
        """The same with two blocks for each, the second of which pools, by averages."""
        pooling = options.preferred(self.downsamples, "avg")
        blocks = [b for b in plain.blocks for _ in range(2)]
        blocks[::2] = [replace(b, downsample="none") for b in blocks[::2]]
        blocks[1::2] = [b if b.downsample == "none" else replace(b, downsample=pooling) for b in blocks[1::2]]
        return self.with_widths(replace(plain, blocks=tuple(blocks)), widths)

    def _separable(self, plain: ConvArchitecture, widths: list[int]) -> Iterator[ConvArchitecture]:
        """The same with separable convolutions after the first block and GELU, with each pooling."""
        if "sep3" not in self.ops:
            return
        first, *later = (
            replace(b, activation=options.preferred(self.activations, "gelu")) for b in plain.blocks
        )
        blocks = (first, *(replace(b, op="sep", kernel=3) for b in later))
        for pooling in [each for each in self.downsamples if each != "stride"] or self.downsamples:
            pooled = (b if b.downsample == "none" else replace(b, downsample=pooling) for b in blocks)
            yield self.with_widths(replace(plain, blocks=tuple(pooled)), widths)

    def _uniform(self, width: int, blocks: int, downsamples: int, head: str) -> ConvArchitecture:
        """Equal conv3.bn.relu blocks, with max-pooling in the first `downsamples`, as far as allowed."""
        op, kernel = OPERATIONS[options.preferred(self.ops, "conv3")]
        block = ConvBlock(
            op=op,
            kernel=kernel,
            width=width,
            norm=options.preferred(self.norms, "bn"),
            activation=options.preferred(self.activations, "relu"),
            downsample="none",
        )
        down = replace(block, downsample=options.preferred(self.downsamples, "max"))
        row = (down,) * downsamples + (block,) * (blocks - downsamples)
        return ConvArchitecture(row, options.preferred(self.heads, head))

    @property
    def decisions(self) -> Mapping[str, Sequence[Any]]:
        return {
            "blocks": self.depths,
            "operation": self.ops,
            "width": self.widths,
            "norm": self.norms,
            "activation": self.activations,
            "downsample": ("none", *self.downsamples),
            "skip": self.skips,
            "squeeze_excite": self.ses,
            "head": self.heads,
        }

    def problem(self, arch: ConvArchitecture) -> str | None:
        low, high, downs = self.min_downsamples, self.max_downsamples, arch.downsamplings
        beyond = f"{downs} downsampling blocks, and the space has {low} to {high}"
        return super().problem(arch) or (None if low <= downs <= high else beyond)

    @property
    def used_operations(self) -> tuple[str, ...]:
        shortcuts = self.skips[-1] or any(token.startswith("res") for token in self.ops)
        parts = ("se",) * self.ses[-1] + ("project", "add") * shortcuts
        return (*self.ops, *self.norms, *self.activations, *self.downsamples, *self.heads, *parts)

    @property
    def size(self) -> int:
        shapes = sum(len(skips(token, self.skips)) for token in self.ops)
        plain = shapes * len(self.widths) * len(self.norms) * len(self.activations) * len(self.ses)
        total = 0
        for n in self.depths:
            for d in range(self.min_downsamples, min(self.max_downsamples, n) + 1):
                total += comb(n, d) * len(self.downsamples) ** d * plain**n
        return total * len(self.heads)

    @property
    def shallowest(self) -> int:
        return max(self.fewest, self.max_downsamples)

    def buildable(self, task: TaskSpec) -> "ConvSpace":
        """Limits the downsamplings to what the task's image size allows."""
        most = min(task.input_shape[1:], default=1).bit_length() - 1
        if most < self.min_downsamples:  # nothing can be built
            return self
        space = copy(self)
        space.max_downsamples = min(self.max_downsamples, most)
        return space

    # Draws and edits

    def draw(self, rng: np.random.Generator) -> ConvArchitecture:
        return sampling.sample(self, rng)

    def formula_cost(self, arch: ConvArchitecture, task: TaskSpec, bits: Bits = 32) -> Cost:
        return cost.cost(arch, task, bits)

    def decide(self, choose: Choose) -> ConvArchitecture:
        """Decides the number of blocks, then each block's attributes, then the head.

        A block can downsample only while more downsamplings are allowed, and must if all remaining blocks are
        needed for them.
        """
        blocks: list[ConvBlock] = []
        downsamplings = 0
        for left in range(choose("blocks", self.depths), 0, -1):
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

    def variants(self, block: ConvBlock, *, any_width: bool) -> tuple[tuple[ConvBlock, ...], ...]:
        downsamples = ("none", *self.downsamples)
        return (
            tuple(self._other_operations(block)),
            tuple(replace(block, width=w) for w in self.other_widths(block.width, any_width=any_width)),
            tuple(replace(block, norm=norm) for norm in self.norms if norm != block.norm),
            tuple(replace(block, activation=a) for a in self.activations if a != block.activation),
            tuple(replace(block, downsample=d) for d in downsamples if d != block.downsample),
            tuple(replace(block, skip=skip) for skip in skips(block.token, self.skips) if skip != block.skip),
            tuple(replace(block, se=se) for se in self.ses if se != block.se),
        )

    def _other_operations(self, block: ConvBlock) -> Iterator[ConvBlock]:
        for token in self.ops:
            op, kernel = OPERATIONS[token]
            if token != block.token:
                free = (op == "res") != (block.op == "res")
                for skip in skips(token, self.skips) if free else (block.skip,):
                    yield replace(block, op=op, kernel=kernel, skip=skip)

    def macro_edits(self, arch: ConvArchitecture) -> Sequence[tuple[float, Sequence[ConvArchitecture]]]:
        """Moves of a downsampling to an adjacent block that has none, and other heads."""
        blocks, moved = arch.blocks, []
        for i, (left, right) in enumerate(pairwise(blocks)):
            if left.downsamples != right.downsamples:
                pair = replace(left, downsample=right.downsample), replace(right, downsample=left.downsample)
                moved.append(replace(arch, blocks=(*blocks[:i], *pair, *blocks[i + 2 :])))
        return (2, moved), (1, [replace(arch, head=head) for head in self.heads if head != arch.head])

    # Strings, networks and their weights

    def read(self, text: str) -> ConvArchitecture:
        return architecture.parse(text, self.decisions)

    def build(self, arch: ConvArchitecture, task: TaskSpec) -> "FewShotNetwork":
        from nasmeta.search_spaces.conv.network import build

        return build(arch, task)

    def sharing(self, task: TaskSpec) -> Sharing[ConvArchitecture]:
        return Sharing(
            largest=partial(weights.largest, self, task),
            name=lambda arch, name: weights.shared_name(arch, name, task),
        )
