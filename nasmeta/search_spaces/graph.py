"""An architecture as a directed acyclic graph of operations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ArchitectureGraph:
    """Operations in topological order and who feeds whom.

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
