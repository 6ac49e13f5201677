"""Which NAS-Bench-201 cells are the same cell, as the paper counts them: 15,625 strings, 6,466 cells.

The equivalence is that of the paper (arXiv:2001.00326, section 3.1) as its code has it
(`to_unique_str(consider_zero=True)`): every node is written as an expression of the input, in which
"skip_connect" is what it passes on, "none" and whatever is applied to it is "#", and the terms of a sum are
sorted as strings; cells with equal expressions of the output are one. Such cells compute the same function.
Not all that do are found: zeros stay in a sum, and the terms of a sum that a skip passes on stay together,
wherever the first of them sorts. So the count hangs on the notation, which is the paper's here, character
by character. (Without zeros and with all terms sorted, 4,930 functions are left.)
"""

from functools import cache
from itertools import product

from nasmeta.search_spaces.nasbench201.architecture import NODES, OPERATIONS, Nasbench201Cell

INPUT, ZERO = "0", "#"


def expression(cell: Nasbench201Cell) -> str:
    """The cell's output in terms of its input; equal for isomorphic cells."""
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
    """The first cell of each expression, in the order of the operations; about 0.2 s, once."""
    found: dict[str, Nasbench201Cell] = {}
    for ops in product(OPERATIONS, repeat=6):
        cell = Nasbench201Cell(ops)
        found.setdefault(expression(cell), cell)
    return found


def canonical(cell: Nasbench201Cell) -> Nasbench201Cell:
    """The representative of the cells that are isomorphic to `cell`; itself if it is the first of them."""
    return _representatives()[expression(cell)]
