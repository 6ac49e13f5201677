"""Architectures of the conv space: a sequence of blocks, and how the last feature map becomes a vector.

A string is conv3-64.bn.relu.max_sep3-96.gn.silu.none+skip+se_flatten: blocks joined by "_", then the head. A
block is operation-width.norm.activation.downsample, then the optional parts. Strings consist of letters,
digits and `-_.+`, which need no quotes in a shell or in Hydra's overrides. Journals and checkpoints contain
them, so the names are a file format: add, never rename.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import options, tokens
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.search_spaces.sequence_space import BlockSequence
from nasmeta.task import TaskSpec

# Token of a string -> (kind, kernel size). "conv" is a plain convolution, "sep" a depthwise-separable one,
# "res" a residual bottleneck. There is no sep1: a depthwise 1x1 only rescales what the following 1x1 mixes,
# so sep1 would be a second name for conv1.
OPERATIONS: dict[str, tuple[str, int]] = {
    "conv1": ("conv", 1),
    "conv3": ("conv", 3),
    "conv5": ("conv", 5),
    "sep3": ("sep", 3),
    "sep5": ("sep", 5),
    "res1": ("res", 1),
    "res3": ("res", 3),
    "res5": ("res", 5),
}
NORMS: tuple[str, ...] = ("bn", "gn")
ACTIVATIONS: tuple[str, ...] = ("relu", "gelu", "silu", "relu6")
DOWNSAMPLES: tuple[str, ...] = ("none", "max", "avg", "stride")
HEADS: tuple[str, ...] = ("flatten", "gap")

VOCABULARY: tuple[str, ...] = (
    "input", "output", *OPERATIONS, "stride", *NORMS, "se", "project", "add",
    *ACTIVATIONS, "max", "avg", *HEADS,
)  # fmt: skip
"""The labels of the graph's nodes."""

# The text after the first "+" -> (skip, se).
PARTS: dict[str, tuple[bool, bool]] = {
    "": (False, False),
    "skip": (True, False),
    "se": (False, True),
    "skip+se": (True, True),
}
EXAMPLE = "conv3-64.bn.relu.max"

_TOKENS = {operation: token for token, operation in OPERATIONS.items()}


@dataclass(frozen=True)
class ConvBlock:
    """norm(op(x)), squeeze-excite if `se`, plus the shortcut if any, activation, downsampling, in this order.

    op: "conv", "sep" or "res". width: output channels. kernel: 1, 3 or 5. norm: "bn" (batch) or "gn" (group).
    downsample: "none", "max" or "avg" (2x2 pooling), or "stride" (the spatial convolution has stride 2).
    skip: whether there is a shortcut around the convolution: the identity, or a 1x1 projection if the shape
    changes. A residual bottleneck always has one, so "res" needs skip=False, and each network has one form.
    Raises ArchitectureError for an unknown operation, and for "res" with skip.
    """

    op: str
    width: int
    kernel: int
    norm: str
    activation: str
    downsample: str
    skip: bool = False
    se: bool = False

    def __post_init__(self) -> None:
        if (self.op, self.kernel) not in _TOKENS:
            raise ArchitectureError(
                f"no operation {self.op!r} has kernel {self.kernel!r}; valid: {', '.join(OPERATIONS)}"
            )
        if self.op == "res" and self.skip:
            raise ArchitectureError("a res operation always has its shortcut: write it without +skip")

    @property
    def token(self) -> str:
        """Operation and kernel as strings write them, such as "conv3"."""
        return _TOKENS[self.op, self.kernel]

    @property
    def downsamples(self) -> bool:
        """Whether the block halves height and width."""
        return self.downsample != "none"

    @property
    def shortcut(self) -> bool:
        """Whether the network has a path around the block's operation."""
        return self.skip or self.op == "res"

    def __str__(self) -> str:
        flags = "+skip" * self.skip + "+se" * self.se
        return f"{self.token}-{self.width}.{self.norm}.{self.activation}.{self.downsample}{flags}"


@dataclass(frozen=True)
class ConvArchitecture(BlockSequence[ConvBlock]):
    """Blocks from input to output, then "flatten" (keeps every position) or "gap" (their average)."""

    head: str

    @property
    def downsamplings(self) -> int:
        """The number of blocks that halve height and width."""
        return sum(block.downsamples for block in self.blocks)

    def __str__(self) -> str:
        return "_".join([*map(str, self.blocks), self.head])


def skips(operation: str, allowed: Sequence[bool]) -> tuple[bool, ...]:
    """The values out of `allowed` that `skip` may have with an operation such as "res3"."""
    return (False,) if operation.startswith("res") else tuple(allowed)


def parse(text: str, options: Mapping[str, Sequence[Any]]) -> ConvArchitecture:
    """Reads a string made of `options`: kind of decision -> allowed values, as in `ConvSpace.decisions`.

    Raises ArchitectureError, in one line, that names the token, its block, and the nearest valid token.
    """
    *blocks, head = text.split("_")
    if not blocks:
        raise ArchitectureError(
            f"{tokens.quote(text)} is not a conv architecture: write blocks and a head joined by '_', "
            f"such as {EXAMPLE}_{EXAMPLE}_flatten"
        )
    parsed = tuple(_block(number, block, options) for number, block in enumerate(blocks, 1))
    return ConvArchitecture(parsed, tokens.name("the head", head, options["head"]))


def _block(number: int, text: str, options: Mapping[str, Sequence[Any]]) -> ConvBlock:
    main, plus, parts = text.partition("+")
    fields = main.split(".")
    operation, dash, width = fields[0].partition("-")
    if len(fields) != 4 or not dash or (plus and not parts):
        raise ArchitectureError(
            f"block {number}: {tokens.quote(text)} is not "
            f"operation-width.norm.activation.downsample, such as {EXAMPLE}"
        )
    where = f"block {number} ({tokens.quote(text)}):"
    token = tokens.name(f"{where} operation", operation, options["operation"])
    skip, se = _parts(where, parts, token, options)
    op, kernel = OPERATIONS[token]
    return ConvBlock(
        op=op,
        kernel=kernel,
        width=int(tokens.name(f"{where} width", width, map(str, options["width"]))),
        norm=tokens.name(f"{where} norm", fields[1], options["norm"]),
        activation=tokens.name(f"{where} activation", fields[2], options["activation"]),
        downsample=tokens.name(f"{where} downsampling", fields[3], options["downsample"]),
        skip=skip,
        se=se,
    )


def _parts(where: str, text: str, token: str, options: Mapping[str, Sequence[Any]]) -> tuple[bool, bool]:
    allowed_skips, allowed_ses = skips(token, options["skip"]), options["squeeze_excite"]
    allowed = [name for name, (skip, se) in PARTS.items() if skip in allowed_skips and se in allowed_ses]
    if text not in allowed:
        valid = ", ".join(f"+{name}" for name in allowed if name) or "none"
        raise ArchitectureError(
            f"{where} {tokens.quote('+' + text)} is not in the search space; valid: {valid}"
        )
    return PARTS[text]


def image_shape(arch: ConvArchitecture, task: TaskSpec) -> tuple[int, int, int]:
    """Channels, height and width of the images. Raises ArchitectureError if `arch` cannot take them."""
    channels, height, width = options.image_shape("conv", task)
    smallest = 2**arch.downsamplings
    if min(height, width) < smallest:
        raise ArchitectureError(
            f"{arch.downsamplings} downsamplings need images of at least {smallest}x{smallest}, "
            f"got {height}x{width}"
        )
    return channels, height, width


def final_size(arch: ConvArchitecture, task: TaskSpec) -> tuple[int, int]:
    """Height and width of the last map."""
    _, height, width = image_shape(arch, task)
    for block in arch.blocks:
        height, width = halved(height, block), halved(width, block)
    return height, width


def halved(size: int, block: ConvBlock) -> int:
    """A size after the block's downsampling: pooling drops an odd last row, a stride does not."""
    if block.downsample == "stride":
        return (size + 1) // 2
    return size // 2 if block.downsamples else size


def graph(arch: ConvArchitecture) -> ArchitectureGraph:
    """One node per operation, in the order of the forward pass; different architectures differ.

    A block is op -> ("stride") -> norm -> ("se") -> ("add") -> activation -> ("max" or "avg"). A shortcut is
    an edge from the block's input to "add", through a "project" node if width or size changes. Widths are
    channels, or 0 for a flattened map, whose length depends on the image.
    """
    builder = GraphBuilder()
    width = 0
    for block in arch.blocks:
        _add_block(builder, block, width)
        width = block.width
    builder.add(arch.head, width if arch.head == "gap" else 0)
    return builder.finish()


def _add_block(builder: GraphBuilder, block: ConvBlock, width_in: int) -> None:
    source, width = builder.last, block.width
    end = builder.add(block.token, width)
    if block.downsample == "stride":
        end = builder.add("stride", width)
    end = builder.add(block.norm, width)
    if block.se:
        end = builder.add("se", width)
    if block.shortcut:
        if width != width_in or block.downsample == "stride":
            source = builder.add("project", width, source)
        builder.add("add", width, source, end)
    builder.add(block.activation, width)
    if block.downsample in ("max", "avg"):
        builder.add(block.downsample, width)
