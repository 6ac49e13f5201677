"""Genotypes as graphs of operations."""

from nasmeta.search_spaces.darts.architecture import OPERATIONS, Cell, DartsGenotype
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder

# The inputs of a cell are named as in the figures of the paper.
VOCABULARY: tuple[str, ...] = ("input", "output", "c_k-2", "c_k-1", *OPERATIONS, "add", "concat")
NODES_PER_CELL_NODE = 3
NODES_BESIDE = 3


def graph(arch: DartsGenotype) -> ArchitectureGraph:
    """A normal cell and the reduction cell after it; different genotypes differ.

    The two inputs of a cell are nodes, and so are every operation, the sum that a node is ("add"), and the
    output of a cell ("concat"). Widths are 0: they are the network's, not the genotype's.
    """
    builder = GraphBuilder()
    normal = _add_cell(builder, arch.normal, 0, 0)
    _add_cell(builder, arch.reduce, 0, normal)
    return builder.finish()


def max_nodes(nodes: int) -> int:
    """The nodes of every graph, for cells of `nodes` nodes."""
    return 2 + 2 * (NODES_BESIDE + NODES_PER_CELL_NODE * nodes)


def _add_cell(builder: GraphBuilder, cell: Cell, before_last: int, last: int) -> int:
    states = [builder.add("c_k-2", 0, before_last), builder.add("c_k-1", 0, last)]
    for edges in cell:
        ends = [builder.add(op, 0, states[state]) for op, state in edges]
        states.append(builder.add("add", 0, *ends))
    return builder.add("concat", 0, *states[2:])
