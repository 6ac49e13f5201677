"""An architecture as a directed acyclic graph of operations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ArchitectureGraph:
    """Operations in topological order and the edges between them; compared and hashed by content.

    operations: one label per node, from the space's `operations`; the first is "input", the last "output".
    adjacency: [nodes, nodes], upper triangular; [i, j] is true if an edge leads from i to j.
    widths: output channels or units of each node; 0 if a node has none.
    Raises ValueError if the shapes do not fit, or if the order is not topological.
    """

    operations: tuple[str, ...]
    adjacency: NDArray[np.bool_]
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        n = len(self.operations)
        if self.adjacency.shape != (n, n) or len(self.widths) != n:
            raise ValueError(f"a graph of {n} operations needs a [{n}, {n}] adjacency and {n} widths")
        if np.tril(self.adjacency).any():
            raise ValueError("the operations of a graph must be in topological order")

    def _content(self) -> tuple[object, ...]:
        return self.operations, self.widths, self.adjacency.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchitectureGraph) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())


class GraphBuilder:
    """Builds a graph node by node, each after the nodes that lead to it."""

    def __init__(self) -> None:
        self._operations: list[str] = ["input"]
        self._widths: list[int] = [0]
        self._edges: list[tuple[int, int]] = []

    @property
    def last(self) -> int:
        """The index of the newest node; 0, the input, at the start."""
        return len(self._operations) - 1

    def add(self, operation: str, width: int, *sources: int) -> int:
        """Adds a node of `width` channels or units and returns its index.

        Edges lead to it from `sources`, or from the last node if there are none.
        """
        node = len(self._operations)
        self._edges += [(source, node) for source in sources or (self.last,)]
        self._operations.append(operation)
        self._widths.append(width)
        return node

    def finish(self, *sources: int) -> ArchitectureGraph:
        """The graph, with an "output" node at the end; its edges are as in `add`."""
        self.add("output", 0, *sources)
        adjacency = np.zeros((len(self._operations), len(self._operations)), dtype=np.bool_)
        for source, target in self._edges:
            adjacency[source, target] = True
        return ArchitectureGraph(tuple(self._operations), adjacency, tuple(self._widths))
