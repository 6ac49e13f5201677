"""Architecture graphs as named features, for predictors."""

import math
from collections import Counter
from collections.abc import Hashable

import numpy as np

from nasmeta.search_spaces.graph import ArchitectureGraph


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
