"""The shared weights of NAS-Bench-201: one set of weights for each operation on each edge of each cell.

The skeleton (stem, reductions, head) is shared by all; its widths do not vary.
"""

from collections.abc import Iterator

from nasmeta.search_spaces.nasbench201.architecture import EDGES, OPERATIONS, Nasbench201Cell, live_edges
from nasmeta.search_spaces.sharing import Sharing


def sharing() -> Sharing[Nasbench201Cell]:
    return Sharing(largest=largest, name=shared_name)


def shared_name(cell: Nasbench201Cell, name: str) -> str:
    """The name of the shared tensor that `name`, a parameter of the network of `cell`, is a part of."""
    place, dot, rest = name.partition(".ops.")  # body.stage1_cell1.ops.2.1.weight
    if not dot:
        return name
    number, _, parameter = rest.partition(".")
    (source, target), op = list(live_edges(cell).items())[int(number)]
    return f"{place}.{source}-{target}.{op}.{parameter}"


def largest() -> Iterator[Nasbench201Cell]:
    """Each operation on every edge."""
    for op in OPERATIONS:
        yield Nasbench201Cell((op,) * len(EDGES))
