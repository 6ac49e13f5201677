"""Architectures of NAS-Bench-201: one operation on each edge of the complete graph of 4 ordered nodes.

Node 0 is the cell's input, node 3 its output. A node is the sum of its incoming edges. Names and strings are
the benchmark's own, because its tables use them. In the string
|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2| the nodes after the input are
joined by "+", and each node lists every earlier node with the operation on the edge from it. A shell needs
quotes around it.
"""

import re
from dataclasses import dataclass
from functools import cache
from itertools import product

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import tokens
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.search_spaces.sharing import Edge

OPERATIONS: tuple[str, ...] = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NODES = 4
# (source, target), in the order of the string, in which they can also be computed.
EDGES: tuple[tuple[int, int], ...] = tuple(
    (source, target) for target in range(NODES) for source in range(target)
)
VOCABULARY: tuple[str, ...] = ("input", "output", *OPERATIONS)
"""The labels of the graph's nodes."""

FORM = re.compile(r"\|(.*?)~0\|\+\|(.*?)~0\|(.*?)~1\|\+\|(.*?)~0\|(.*?)~1\|(.*?)~2\|", re.DOTALL)
INPUT, ZERO = "0", "#"


@dataclass(frozen=True, slots=True)
class Nasbench201Cell:
    """The operation of each of `EDGES`."""

    ops: tuple[str, ...]

    def __str__(self) -> str:
        a, b, c, d, e, f = self.ops
        return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def live_edges(cell: Nasbench201Cell) -> list[Edge]:
    """The edges on paths from the cell's input to its output that have no "none", in order.

    All others contribute nothing. A cell whose output is not connected to its input becomes the single edge
    0 -> 3 with "none", which outputs zeros.
    """
    edges = {edge: op for edge, op in zip(EDGES, cell.ops, strict=True) if op != "none"}
    fed, used = {0}, {NODES - 1}
    for source, target in edges:
        if source in fed:
            fed.add(target)
    for source, target in reversed(edges):
        if target in used:
            used.add(source)
    live = [(s, t, op) for (s, t), op in edges.items() if s in fed and t in used]
    return live or [(0, NODES - 1, "none")]


def parse(text: str) -> Nasbench201Cell:
    """The cell with the string `text`. Raises ArchitectureError that says which edge is wrong."""
    match = FORM.fullmatch(text)
    if not match:
        raise ArchitectureError(
            f"{tokens.quote(text)} is not a NAS-Bench-201 cell: write |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, "
            f"with each op one of {', '.join(OPERATIONS)}"
        )
    pairs = zip(EDGES, match.groups(), strict=True)
    return Nasbench201Cell(
        tuple(tokens.name(f"edge {i}->{j}: operation", op, OPERATIONS) for (i, j), op in pairs)
    )


def graph(arch: Nasbench201Cell) -> ArchitectureGraph:
    """The operations of the live edges as nodes; each is fed by the operations that lead to its source.

    A sum has no node of its own. Widths are 0, because they belong to the stage and not to the cell. Dead
    edges are left out because predictors learn better without them: a graph network fitted to 150 random
    cells of the CIFAR-10 table ranked 1,500 others with Kendall's tau 0.70, and 0.59 on the complete graph of
    6 operations (standard error 0.01).
    """
    builder = GraphBuilder()
    into: dict[int, list[int]] = {0: [0]}
    for source, target, op in live_edges(arch):
        into.setdefault(target, []).append(builder.add(op, 0, *into[source]))
    return builder.finish(*into[NODES - 1])


def expression(cell: Nasbench201Cell) -> str:
    """The cell's output as an expression of its input; equal for isomorphic cells."""
    ops = iter(cell.ops)
    nodes = [INPUT]
    for target in range(1, NODES):
        nodes.append("+".join(sorted(_term(next(ops), nodes[source]) for source in range(target))))
    return nodes[-1]


def _term(op: str, source: str) -> str:
    if op == "none" or source == ZERO:
        return ZERO
    return source if op == "skip_connect" else f"({source})@{op}"


@cache
def _representatives() -> dict[str, Nasbench201Cell]:
    """The first cell of each expression, in the order of the operations. Takes about 0.2 s, once."""
    found: dict[str, Nasbench201Cell] = {}
    for ops in product(OPERATIONS, repeat=6):
        cell = Nasbench201Cell(ops)
        found.setdefault(expression(cell), cell)
    return found


def canonical(arch: Nasbench201Cell) -> Nasbench201Cell:
    """The representative of the cells that are isomorphic to `arch`; `arch` itself if it is the first.

    Counted as in the paper, there are 6,466 cells among the 15,625 strings. The equivalence is that of the
    paper (arXiv:2001.00326, section 3.1) as its code computes it (`to_unique_str(consider_zero=True)`). Every
    node is written as an expression of the input: "skip_connect" becomes what it passes on, "none" and
    anything applied to it becomes "#", and the terms of a sum are sorted as strings. Cells with equal
    expressions of the output count as one.

    Cells with equal expressions compute the same function, but some with different expressions do too: zeros
    stay in a sum, and the terms of a sum that a skip passes on stay together. So the count depends on the
    notation, which here is the paper's, character by character. (Without zeros and with all terms sorted,
    4,930 functions are left.)
    """
    return _representatives()[expression(arch)]
