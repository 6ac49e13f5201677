"""An architecture as a directed acyclic graph of operations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ArchitectureGraph:
    """Operations in topological order and who feeds whom; equal and hashed by content.

    operations: one label a node, the first "input", the last "output"; labels come from the space's
    `operations` vocabulary. adjacency [nodes, nodes] bool, upper triangular: [i, j] is an edge i -> j.
    widths [nodes]: channels or units that leave a node (0 where that has no meaning).
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
    """Grows a graph node by node, each fed by nodes that exist: topological order comes for free."""

    def __init__(self) -> None:
        self._operations: list[str] = ["input"]
        self._widths: list[int] = [0]
        self._edges: list[tuple[int, int]] = []

    @property
    def last(self) -> int:
        """The index of the newest node; 0, the input, at the start."""
        return len(self._operations) - 1

    def add(self, operation: str, width: int, *sources: int) -> int:
        """The index of a new node of `width` channels or units, fed by `sources` or else by the last node."""
        node = len(self._operations)
        self._edges += [(source, node) for source in sources or (self.last,)]
        self._operations.append(operation)
        self._widths.append(width)
        return node

    def finish(self, *sources: int) -> ArchitectureGraph:
        """The graph, after `sources`, or else its last node, are fed into "output"."""
        self.add("output", 0, *sources)
        adjacency = np.zeros((len(self._operations), len(self._operations)), dtype=np.bool_)
        for source, target in self._edges:
            adjacency[source, target] = True
        return ArchitectureGraph(tuple(self._operations), adjacency, tuple(self._widths))
