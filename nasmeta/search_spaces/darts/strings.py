"""The canonical string of a genotype, read back.

normal-sep_conv_3x3.0+conv_3x3.1-...-reduce-max_pool_3x3.0+skip_connect.1-...: the pairs (operation, state)
of a DARTS genotype in their order, one node after the other. Letters, digits and `-_.+` only: neither a
shell nor Hydra's override grammar reads anything into them.
"""

from collections.abc import Sequence

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import tokens
from nasmeta.search_spaces.darts.architecture import INPUTS, Cell, DartsGenotype, Edge, Node

EXAMPLE = "sep_conv_3x3.0+conv_3x3.1"


def parse(text: str, operations: Sequence[str], nodes: int) -> DartsGenotype:
    """The genotype of `nodes` nodes a cell whose string is `text`.

    Raises ArchitectureError, in one line, that names the cell, the node, and what would be right.
    """
    parts = text.split("-")
    if len(parts) != 2 * (nodes + 1) or parts[0] != "normal" or parts[nodes + 1] != "reduce":
        raise ArchitectureError(
            f"{tokens.quote(text)} is no genotype of this search space: 'normal', {nodes} nodes, 'reduce', "
            f"{nodes} nodes, joined by '-', are; a node is written like {EXAMPLE}"
        )
    return DartsGenotype(
        _cell("normal", parts[1 : nodes + 1], operations), _cell("reduce", parts[nodes + 2 :], operations)
    )


def _cell(name: str, texts: list[str], operations: Sequence[str]) -> Cell:
    return tuple(
        _node(f"{name} node {number} ({tokens.quote(text)}):", text, INPUTS + number, operations)
        for number, text in enumerate(texts)
    )


def _node(where: str, text: str, states: int, operations: Sequence[str]) -> Node:
    edges = [_edge(where, part, states, operations) for part in text.split("+")]
    if len(edges) != 2 or edges[0][1] >= edges[1][1]:
        raise ArchitectureError(f"{where} a node has two inputs, the lower state first, such as {EXAMPLE}")
    return edges[0], edges[1]


def _edge(where: str, text: str, states: int, operations: Sequence[str]) -> Edge:
    op, _, state = text.partition(".")
    valid = [str(number) for number in range(states)]
    if op not in operations:
        tokens.name(f"{where} operation", op, operations)
    if state not in valid:
        tokens.name(f"{where} state", state, valid)
    return op, int(state)
