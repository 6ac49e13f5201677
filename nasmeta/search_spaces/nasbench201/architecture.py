"""Architectures of NAS-Bench-201: one operation on each edge of the complete graph of 4 ordered nodes.

Node 0 is the cell's input, node 3 its output; a node is the sum of what its edges bring. The names are the
benchmark's own: its tables are read by them.
"""

from dataclasses import dataclass

Edge = tuple[int, int]

OPERATIONS: tuple[str, ...] = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NODES = 4
# (source, target), in the order of the string, which is an order to compute them in.
EDGES: tuple[Edge, ...] = tuple((source, target) for target in range(NODES) for source in range(target))


@dataclass(frozen=True, slots=True)
class Nasbench201Cell:
    """The operation of each of `EDGES`."""

    ops: tuple[str, ...]

    def __str__(self) -> str:
        a, b, c, d, e, f = self.ops
        return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def live_edges(cell: Nasbench201Cell) -> dict[Edge, str]:
    """The edges that carry something from the cell's input to its output, with their operations, in order.

    What only "none" leads to or from computes nothing that is used. A cell whose output is not connected
    to its input is the one edge 0 -> 3 of "none": it puts out zeros.
    """
    edges = {edge: op for edge, op in zip(EDGES, cell.ops, strict=True) if op != "none"}
    fed, used = {0}, {NODES - 1}
    for source, target in edges:
        if source in fed:
            fed.add(target)
    for source, target in reversed(edges):
        if target in used:
            used.add(source)
    live = {(s, t): op for (s, t), op in edges.items() if s in fed and t in used}
    return live or {(0, NODES - 1): "none"}
