"""Conv architectures as graphs of operations."""

from nasmeta.search_spaces.conv.architecture import (
    ACTIVATIONS,
    HEADS,
    NORMS,
    OPERATIONS,
    ConvArchitecture,
    ConvBlock,
)
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder

VOCABULARY: tuple[str, ...] = (
    "input", "output", *OPERATIONS, "stride", *NORMS, "se", "project", "add",
    *ACTIVATIONS, "max", "avg", *HEADS,
)  # fmt: skip
# operation, norm, se, project, add, activation, and one node of downsampling.
NODES_PER_BLOCK = 7
NODES_BESIDE_BLOCKS = 3


def graph(arch: ConvArchitecture) -> ArchitectureGraph:
    """Every operation a node, in the order of the forward pass; different architectures differ.

    A block is op -> ("stride") -> norm -> ("se") -> ("add") -> activation -> ("max" or "avg"); a shortcut is
    an edge from the block's input to "add", through a "project" node where width or size changes. Widths are
    channels, 0 for a flattened map, whose length depends on the image.
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
