"""Genotypes, their strings and graphs.

A genotype has a normal and a reduction cell, each a row of nodes with two inputs. The states of a cell are
numbered: 0 is the output of the cell before the previous one, 1 that of the previous cell, 2 the first node,
and so on. A node is the sum of two operations, each applied to a different earlier state. The cell's output
is the concatenation of all its nodes.

A string is normal-sep_conv_3x3.0+conv_3x3.1-...-reduce-max_pool_3x3.0+skip_connect.1-...: the pairs
(operation, state) of a DARTS genotype in their order, one node after the other. Strings consist of letters,
digits and `-_.+`, which need no quotes in a shell or in Hydra's overrides. The names are a file format: add,
never rename.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import tokens
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.search_spaces.sharing import Edge

OPERATIONS: tuple[str, ...] = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "conv_1x5_5x1",
    "conv_3x3",
    "sep_conv_3x3",
    "dil_conv_3x3",
)
INPUTS = 2
"""The inputs of a cell, and of a node."""

CELLS = ("normal", "reduce")
VOCABULARY: tuple[str, ...] = ("input", "output", "c_k-2", "c_k-1", *OPERATIONS, "add", "concat")
"""The labels of the graph's nodes; a cell's inputs are named as in the figures of the paper."""

EXAMPLE = "sep_conv_3x3.0+conv_3x3.1"

Input = tuple[str, int]
"""An operation and the state to which it is applied."""

Node = tuple[Input, Input]
Cell = tuple[Node, ...]


def node(first: Input, second: Input) -> Node:
    """The node with these two inputs, in their only valid order: by state."""
    return (first, second) if first[1] < second[1] else (second, first)


@dataclass(frozen=True, slots=True)
class DartsGenotype:
    """The two cells that a network repeats. The inputs of each node are ordered by state."""

    normal: Cell
    reduce: Cell

    def __str__(self) -> str:
        return f"normal-{_string(self.normal)}-reduce-{_string(self.reduce)}"


def _string(cell: Cell) -> str:
    return "-".join([f"{a}.{i}+{b}.{j}" for (a, i), (b, j) in cell])


def parse(text: str, operations: Sequence[str], nodes: int) -> DartsGenotype:
    """The genotype with `nodes` nodes per cell whose string is `text`.

    Raises ArchitectureError, in one line, that names the cell, the node, and what would be right.
    """
    parts = text.split("-")
    if len(parts) != 2 * (nodes + 1) or parts[0] != "normal" or parts[nodes + 1] != "reduce":
        raise ArchitectureError(
            f"{tokens.quote(text)} is not a genotype of this space: write 'normal', {nodes} nodes, 'reduce', "
            f"{nodes} nodes, joined by '-'; a node is written like {EXAMPLE}"
        )
    return DartsGenotype(
        _parsed_cell("normal", parts[1 : nodes + 1], operations),
        _parsed_cell("reduce", parts[nodes + 2 :], operations),
    )


def _parsed_cell(name: str, texts: list[str], operations: Sequence[str]) -> Cell:
    return tuple(
        _parsed_node(f"{name} node {number} ({tokens.quote(text)}):", text, INPUTS + number, operations)
        for number, text in enumerate(texts)
    )


def _parsed_node(where: str, text: str, states: int, operations: Sequence[str]) -> Node:
    valid = [str(state) for state in range(states)]
    inputs = [
        (tokens.name(f"{where} operation", op, operations), int(tokens.name(f"{where} state", state, valid)))
        for op, _, state in (part.partition(".") for part in text.split("+"))
    ]
    if len(inputs) != 2 or inputs[0][1] >= inputs[1][1]:
        raise ArchitectureError(f"{where} a node has two inputs, the lower state first, such as {EXAMPLE}")
    return inputs[0], inputs[1]


def canonical(arch: DartsGenotype) -> DartsGenotype:
    """The genotype whose cells are the smallest of their renumberings, node by node.

    Nodes that do not depend on each other can change places. The cell then outputs the same maps in another
    order, which makes no difference to the 1x1 convolutions behind it (or the head).
    """
    return DartsGenotype(_smallest(arch.normal), _smallest(arch.reduce))


def _smallest(cell: Cell) -> Cell:
    return min(_numberings(cell, {state: state for state in range(INPUTS)}, ()))


def _numberings(cell: Cell, names: dict[int, int], done: Cell) -> Iterator[Cell]:
    """Renumberings that extend `done`, always by the smallest node that can come next.

    Two such nodes may look the same until others use them, so both are tried. `names`: old state -> new
    state.
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


def edges(cell: Cell) -> list[Edge]:
    """The edges of the cell in the order of its string, each to the number of its node's state."""
    return [(state, INPUTS + number, op) for number, pair in enumerate(cell) for op, state in pair]


def graph(arch: DartsGenotype) -> ArchitectureGraph:
    """A normal cell followed by the reduction cell; different genotypes have different graphs.

    The two inputs of a cell are nodes, and so are every operation, the sum of a genotype's node ("add"), and
    the output of a cell ("concat"). Widths are 0: they belong to the network, not the genotype.
    """
    builder = GraphBuilder()
    normal = _add_cell(builder, arch.normal, 0, 0)
    _add_cell(builder, arch.reduce, 0, normal)
    return builder.finish()


def _add_cell(builder: GraphBuilder, cell: Cell, before_last: int, last: int) -> int:
    states = [builder.add("c_k-2", 0, before_last), builder.add("c_k-1", 0, last)]
    for edges in cell:
        ends = [builder.add(op, 0, states[state]) for op, state in edges]
        states.append(builder.add("add", 0, *ends))
    return builder.add("concat", 0, *states[2:])
