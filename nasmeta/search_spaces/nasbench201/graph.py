"""NAS-Bench-201 cells as graphs of operations."""

from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.search_spaces.nasbench201.architecture import (
    EDGES,
    NODES,
    OPERATIONS,
    Nasbench201Cell,
    live_edges,
)

VOCABULARY: tuple[str, ...] = ("input", "output", *OPERATIONS)
MAX_NODES = len(EDGES) + 2


def graph(cell: Nasbench201Cell) -> ArchitectureGraph:
    """The operations of the live edges as nodes, fed by those that lead to where the edge begins.

    Sums are where several operations lead into one. Widths are 0: they are the stage's, not the cell's.
    """
    builder = GraphBuilder()
    into: dict[int, list[int]] = {0: [0]}
    for (source, target), op in live_edges(cell).items():
        into.setdefault(target, []).append(builder.add(op, 0, *into[source]))
    return builder.finish(*into[NODES - 1])
