"""Architecture graphs as vectors of one length, for predictors."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from nasmeta.search_spaces.graph import ArchitectureGraph


def adjacency_one_hot_length(operations: Sequence[str], max_nodes: int) -> int:
    """The length of `adjacency_one_hot`'s vectors."""
    return max_nodes * (max_nodes - 1) // 2 + max_nodes * len(operations) + max_nodes


def adjacency_one_hot(
    graph: ArchitectureGraph, operations: Sequence[str], max_nodes: int
) -> NDArray[np.float32]:
    """The adjacency one-hot encoding of White et al., "A Study on Encodings for NAS" (2020), with widths.

    One float32 vector of `adjacency_one_hot_length(operations, max_nodes)` numbers, of three parts: the
    strict upper triangle of the adjacency matrix, row by row (0 or 1); one row of len(operations) a node,
    1 at its operation (nodes that are missing are zeros); log2(1 + width) of each node. The paper has no
    widths. Two graphs share a vector only when they are equal; there is no function that decodes it.
    Raises ValueError for a graph of more than `max_nodes` nodes or an operation outside `operations`.
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
    """How often each labelled neighbourhood is in the graph: a vector with names, of any graph of any size.

    Weisfeiler-Lehman subtree features (Shervashidze et al. 2011), which Ru et al. 2021, "Interpretable NAS
    via Bayesian Optimisation with Weisfeiler-Lehman Kernels", found to describe architectures well. Round 0
    counts operations; each round joins a node's label with the sorted labels of the nodes that feed it, and
    counts again. Isomorphic graphs are equal here. The papers have no widths: ("width", operation) adds up
    log2(1 + width) over the nodes of an operation.
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
