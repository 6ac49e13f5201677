"""Which NAS-Bench-201 cells are the same cell, as the paper counts them: 15,625 strings, 6,466 cells.

The equivalence is that of the paper (section 3.1 of arXiv:2001.00326) as its code has it: every node is
written as an expression of the input, in which "skip_connect" is replaced by what it passes on, "none" and
whatever is applied to zeros by a zero, and the terms of a sum are sorted; cells with equal expressions of
the output are one. Cells that are equal so compute the same function. The reverse is not true: zeros stay
in the sums and a sum inside a sum keeps its place, without which 4,930 functions would be left.
"""

from functools import cache
from itertools import product

from nasmeta.search_spaces.nasbench201.architecture import NODES, OPERATIONS, Nasbench201Cell

ZERO = "0"


def expression(cell: Nasbench201Cell) -> str:
    """The cell's output as an expression of its input "x"; equal for isomorphic cells."""
    ops = iter(cell.ops)
    nodes = ["x"]
    for target in range(1, NODES):
        nodes.append("+".join(sorted(_term(next(ops), nodes[source]) for source in range(target))))
    return nodes[-1]


def _term(op: str, source: str) -> str:
    if op == "none" or source == ZERO:
        return ZERO
    return source if op == "skip_connect" else f"{op}({source})"


@cache
def _representatives() -> dict[str, Nasbench201Cell]:
    """The first cell of each expression, in the order of the operations; about 0.2 s, once."""
    found: dict[str, Nasbench201Cell] = {}
    for ops in product(OPERATIONS, repeat=6):
        cell = Nasbench201Cell(ops)
        found.setdefault(expression(cell), cell)
    return found


def canonical(cell: Nasbench201Cell) -> Nasbench201Cell:
    """The representative of the cells that are isomorphic to `cell`; itself if it is the first of them."""
    return _representatives()[expression(cell)]
