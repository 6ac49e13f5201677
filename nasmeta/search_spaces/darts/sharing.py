"""The shared weights of the DARTS space: in each cell of the network, one set of weights for each operation
on each pair of an earlier state and a node.

Stem, preparations of a cell's inputs and head are shared by all; no width varies.
"""

from collections.abc import Collection, Iterator

from nasmeta.search_spaces.darts.architecture import INPUTS, DartsGenotype
from nasmeta.search_spaces.sharing import Sharing


def sharing(operations: tuple[str, ...], nodes: int, reductions: Collection[int]) -> Sharing[DartsGenotype]:
    return Sharing(
        largest=lambda: largest(operations, nodes),
        name=lambda arch, name: shared_name(arch, name, reductions),
    )


def shared_name(arch: DartsGenotype, name: str, reductions: Collection[int]) -> str:
    """The name of the shared tensor that `name`, a parameter of the network of `arch`, is a part of."""
    place, dot, rest = name.partition(".ops.")  # body.cells.3.ops.5.1.weight
    if not dot:
        return name
    cell = arch.reduce if int(place.rpartition(".")[2]) in reductions else arch.normal
    number, _, parameter = rest.partition(".")
    node, edge = divmod(int(number), 2)
    op, state = cell[node][edge]
    return f"{place}.{state}-{INPUTS + node}.{op}.{parameter}"


def largest(operations: tuple[str, ...], nodes: int) -> Iterator[DartsGenotype]:
    """Each operation between every earlier state and every node."""
    for op in operations:
        for first in range(nodes):
            cell = tuple(((op, min(first, node)), (op, node + 1)) for node in range(nodes))
            yield DartsGenotype(cell, cell)
