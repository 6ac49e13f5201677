"""Which genotypes are the same network: the nodes of a cell may be numbered in another order.

Nodes that do not depend on each other can change places. The cell then puts out the same maps in another
order, which the 1x1 convolutions behind it (or the head) take as well as this one.
"""

from collections.abc import Iterator

from nasmeta.search_spaces.darts.architecture import INPUTS, Cell, DartsGenotype, Node, node


def canonical(arch: DartsGenotype) -> DartsGenotype:
    """The genotype whose cells are the smallest of their renumberings, node by node."""
    return DartsGenotype(_smallest(arch.normal), _smallest(arch.reduce))


def _smallest(cell: Cell) -> Cell:
    return min(_numberings(cell, {state: state for state in range(INPUTS)}, ()))


def _numberings(cell: Cell, names: dict[int, int], done: Cell) -> Iterator[Cell]:
    """Renumberings that go on from `done`, always with the smallest node that can come next.

    Two that can come next may look the same until others use them, so both are tried. `names`: old state ->
    new state.
    """
    if len(done) == len(cell):
        yield done
        return
    ready: dict[int, Node] = {}
    for state, ((a, i), (b, j)) in enumerate(cell, INPUTS):
        if state not in names and i in names and j in names:
            ready[state] = node((a, names[i]), (b, names[j]))
    smallest = min(ready.values())
    for state, renamed in ready.items():
        if renamed == smallest:
            yield from _numberings(cell, {**names, state: INPUTS + len(done)}, (*done, renamed))
