"""Genotypes: the normal and the reduction cell, each a row of nodes with two inputs.

The states of a cell are numbered: 0 is the output of the cell before the last, 1 that of the last, 2 the
first node, and so on. A node is the sum of two operations, each of another earlier state; the cell puts out
all its nodes side by side. The names below are a file format: add, never rename.
"""

from dataclasses import dataclass

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

# An operation and the state that it is applied to.
Edge = tuple[str, int]
Node = tuple[Edge, Edge]
Cell = tuple[Node, ...]


def node(first: Edge, second: Edge) -> Node:
    """The node of these two edges, in the one order that a node has them: by their states."""
    return (first, second) if first[1] < second[1] else (second, first)


@dataclass(frozen=True, slots=True)
class DartsGenotype:
    """The two cells that a network repeats; the edges of each node are in the order of their states."""

    normal: Cell
    reduce: Cell

    def __str__(self) -> str:
        return f"normal-{_string(self.normal)}-reduce-{_string(self.reduce)}"


def _string(cell: Cell) -> str:
    return "-".join([f"{a}.{i}+{b}.{j}" for (a, i), (b, j) in cell])
