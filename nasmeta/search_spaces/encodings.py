"""Architecture graphs as vectors, for predictors."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from nasmeta.search_spaces.graph import ArchitectureGraph


def adjacency_one_hot_length(operations: Sequence[str], max_nodes: int) -> int:
    """The length of the vectors of `adjacency_one_hot`."""
    return max_nodes * (max_nodes - 1) // 2 + max_nodes * len(operations) + max_nodes


def adjacency_one_hot(
    graph: ArchitectureGraph, operations: Sequence[str], max_nodes: int
) -> NDArray[np.float32]:
    """The adjacency one-hot encoding of White et al., "A Study on Encodings for NAS" (2020), with widths.

    One float32 vector of `adjacency_one_hot_length(operations, max_nodes)` numbers, in three parts: the
    strict upper triangle of the adjacency matrix, row by row (0 or 1); one row of len(operations) per node,
    with a 1 at its operation (missing nodes are zeros); log2(1 + width) of each node. The paper has no
    widths. Two graphs have the same vector only if they are equal. There is no function that decodes it.
    Raises ValueError for a graph of more than `max_nodes` nodes or an operation that is not in `operations`.
    """
    nodes = len(graph.operations)
    if nodes > max_nodes:
        raise ValueError(f"the graph has {nodes} nodes, above max_nodes={max_nodes}")
    unknown = sorted(set(graph.operations) - set(operations))
    if unknown:
        raise ValueError(f"the operations {unknown} are not in the vocabulary {list(operations)}")
    adjacency = np.zeros((max_nodes, max_nodes), dtype=np.float32)
    adjacency[:nodes, :nodes] = graph.adjacency
    one_hot = np.zeros((max_nodes, len(operations)), dtype=np.float32)
    one_hot[np.arange(nodes), [list(operations).index(name) for name in graph.operations]] = 1
    widths = np.zeros(max_nodes, dtype=np.float32)
    widths[:nodes] = np.log2(1 + np.asarray(graph.widths, dtype=np.float32))
    upper = adjacency[np.triu_indices(max_nodes, k=1)]
    return np.concatenate([upper, one_hot.ravel(), widths])


def weisfeiler_lehman(graph: ArchitectureGraph, rounds: int) -> dict[Hashable, float]:
    """The counts of labelled neighbourhoods in the graph: named features, for graphs of any size.

    Weisfeiler-Lehman subtree features (Shervashidze et al. 2011). Ru et al. 2021, "Interpretable NAS via
    Bayesian Optimisation with Weisfeiler-Lehman Kernels", found that they describe architectures well. Round
    0 counts operations. Each round joins a node's label with the sorted labels of the nodes that feed it, and
    counts again. Isomorphic graphs have equal features. The papers have no widths: here ("width", operation)
    is the sum of log2(1 + width) over the nodes of an operation.
    """
    labels: list[Hashable] = list(graph.operations)
    counts: dict[Hashable, float] = dict(Counter(labels))
    for _ in range(rounds):
        fed_by = [np.flatnonzero(column) for column in graph.adjacency.T]
        labels = [
            (label, tuple(sorted((labels[i] for i in sources), key=repr)))
            for label, sources in zip(labels, fed_by, strict=True)
        ]
        counts.update(Counter(labels))
    for operation, width in zip(graph.operations, graph.widths, strict=True):
        if width:
            counts["width", operation] = counts.get(("width", operation), 0) + math.log2(1 + width)
    return counts
