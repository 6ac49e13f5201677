"""The weights that NAS-Bench-201's networks share: one set for each operation on each edge of each cell.

All networks share the skeleton (stem, reductions, head). No width varies.
"""

from nasmeta.search_spaces.nasbench201.architecture import Nasbench201Cell, live_edges


def shared_name(cell: Nasbench201Cell, name: str) -> str:
    """The name of the shared tensor of which `name`, a parameter of the network of `cell`, is a part."""
    place, dot, rest = name.partition(".ops.")  # body.stage1_cell1.ops.2.1.weight
    if not dot:
        return name
    number, _, parameter = rest.partition(".")
    (source, target), op = list(live_edges(cell).items())[int(number)]
    return f"{place}.{source}-{target}.{op}.{parameter}"
