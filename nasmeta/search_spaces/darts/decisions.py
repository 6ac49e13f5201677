"""A genotype decided edge by edge: of each node the earlier state and its operation, then the later one's."""

from nasmeta.search_spaces.darts.architecture import INPUTS, DartsGenotype, Node
from nasmeta.search_spaces.decisions import Choose

CELLS = ("normal", "reduce")


def decisions(operations: tuple[str, ...], nodes: int) -> dict[str, tuple[object, ...]]:
    """The kinds of decisions and all their options; the two cells share none."""
    states = tuple(range(INPUTS + nodes - 1))
    kinds: tuple[tuple[str, tuple[object, ...]], ...] = (("state", states), ("operation", operations))
    return {f"{cell} {kind}": options for cell in CELLS for kind, options in kinds}


def decide(operations: tuple[str, ...], nodes: int, choose: Choose) -> DartsGenotype:
    """The second state of a node comes after its first, so that each pair of states has one order."""
    normal, reduce = (
        tuple(_node(cell, INPUTS + number, operations, choose) for number in range(nodes)) for cell in CELLS
    )
    return DartsGenotype(normal, reduce)


def _node(cell: str, states: int, operations: tuple[str, ...], choose: Choose) -> Node:
    state, operation = f"{cell} state", f"{cell} operation"
    first = choose(state, range(states - 1))
    first_operation = choose(operation, operations)
    second = choose(state, range(first + 1, states))
    return (first_operation, first), (choose(operation, operations), second)
