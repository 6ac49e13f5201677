"""Draws and edits of genotypes.

One edit is the mutation of Real et al. 2019 (arXiv:1802.01548, section 3.1): another operation on one edge,
or another state that one edge comes from. All of them can be undone by one edit, and they connect the space.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces.darts.architecture import INPUTS, Cell, DartsGenotype, Node, node

CELLS = ("normal", "reduce")


def sample(operations: Sequence[str], nodes: int, rng: np.random.Generator) -> DartsGenotype:
    """Uniform over all genotypes: the pair of states and both operations of every node."""
    pairs = [list(combinations(range(INPUTS + number), 2)) for number in range(nodes)]
    bounds = [bound for pair in pairs for bound in (len(pair), len(operations), len(operations))]
    draws = iter(rng.integers(bounds * len(CELLS)).tolist())

    def cell() -> Cell:
        drawn = []
        for pair in pairs:
            first, second = pair[next(draws)]
            drawn.append(((operations[next(draws)], first), (operations[next(draws)], second)))
        return tuple(drawn)

    return DartsGenotype(cell(), cell())


def mutate(operations: Sequence[str], arch: DartsGenotype, rng: np.random.Generator) -> DartsGenotype:
    """An operation or a state, evenly, of a random edge of a random cell.

    Where only one of the two can change in this space, that one does. Raises ArchitectureError where
    `arch` is the only architecture of the space.
    """
    nodes = len(arch.normal)
    can_rename, can_rewire = len(operations) > 1, nodes > 1
    if not can_rename and not can_rewire:
        raise ArchitectureError(f"{arch} has no neighbour: the search space has one architecture")
    rename = can_rename and (not can_rewire or rng.random() < 0.5)
    name = CELLS[int(rng.integers(len(CELLS)))]
    cell: Cell = getattr(arch, name)
    # The first node takes both inputs of the cell: there is no other state for it.
    number = int(rng.integers(0 if rename else 1, nodes))
    side = int(rng.integers(2))
    options = list(
        _renamed(operations, cell[number], side) if rename else _rewired(cell[number], side, number)
    )
    return _with_node(arch, name, number, options[int(rng.integers(len(options)))])


def neighbors(operations: Sequence[str], arch: DartsGenotype) -> Iterator[DartsGenotype]:
    """Every genotype that is one edit from `arch`, each once, in a fixed order."""
    for name in CELLS:
        for number, old in enumerate(getattr(arch, name)):
            for side in range(2):
                for new in _renamed(operations, old, side):
                    yield _with_node(arch, name, number, new)
                for new in _rewired(old, side, number):
                    yield _with_node(arch, name, number, new)


def crossover(a: DartsGenotype, b: DartsGenotype, rng: np.random.Generator) -> DartsGenotype:
    """Every node, with both its edges, from either parent, evenly."""
    first = iter(rng.integers(2, size=len(CELLS) * len(a.normal)).tolist())
    normal, reduce = (
        tuple(x if next(first) else y for x, y in zip(mine, theirs, strict=True))
        for mine, theirs in ((a.normal, b.normal), (a.reduce, b.reduce))
    )
    return DartsGenotype(normal, reduce)


def _renamed(operations: Sequence[str], old: Node, side: int) -> Iterator[Node]:
    (op, state), other = old[side], old[1 - side]
    for new in operations:
        if new != op:
            yield node((new, state), other)


def _rewired(old: Node, side: int, number: int) -> Iterator[Node]:
    (op, state), other = old[side], old[1 - side]
    for new in range(INPUTS + number):
        if new not in (state, other[1]):
            yield node((op, new), other)


def _with_node(arch: DartsGenotype, name: str, number: int, new: Node) -> DartsGenotype:
    old: Cell = getattr(arch, name)
    cell = (*old[:number], new, *old[number + 1 :])
    return DartsGenotype(cell, arch.reduce) if name == "normal" else DartsGenotype(arch.normal, cell)
