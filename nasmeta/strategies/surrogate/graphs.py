"""Architecture graphs as arrays, and several of them packed into one graph without padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasmeta.search_spaces.graph import ArchitectureGraph

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

NUMBERS = 3
"""Features of a node besides its operation: width, longest path from the input, and to the output."""

SCALE = 1 / 4
"""The factor of these features: their binary logarithms are a few units, and inputs should be near 1."""


@dataclass(frozen=True, eq=False)
class EncodedGraph:
    """One graph: features [nodes, operations + NUMBERS] float32.

    sources, targets [edges] int64 are the nodes at each edge's two ends.
    """

    features: Floats
    sources: Indices
    targets: Indices


def feature_length(operations: Sequence[str]) -> int:
    """The length of a node's features, for graphs over these operations."""
    return len(operations) + NUMBERS


def encode(graph: ArchitectureGraph, operations: Sequence[str]) -> EncodedGraph:
    """Encodes each node: its operation one-hot, then log2(1 + x) / 4 of its width and both depths.

    Depths tell a few rounds of message passing where in a long chain a node lies. Raises ValueError for an
    operation that is not in `operations`.
    """
    nodes = len(graph.operations)
    features = np.zeros((nodes, feature_length(operations)), dtype=np.float32)
    features[np.arange(nodes), [operations.index(name) for name in graph.operations]] = 1
    numbers = np.array([graph.widths, _depths(graph.adjacency), _depths(graph.adjacency[::-1, ::-1].T)[::-1]])
    features[:, len(operations) :] = SCALE * np.log2(1 + numbers.T)
    sources, targets = np.nonzero(graph.adjacency)
    return EncodedGraph(features, sources, targets)


def _depths(adjacency: NDArray[np.bool_]) -> list[int]:
    """The length of the longest path to each node; nodes are in topological order."""
    depths = [0] * len(adjacency)
    for source, target in zip(*(ends.tolist() for ends in np.nonzero(adjacency)), strict=True):
        depths[target] = max(depths[target], depths[source] + 1)
    return depths


@dataclass(frozen=True, eq=False)
class PackedGraphs:
    """Several graphs as one graph of all their nodes: features [nodes, ...], edges as in EncodedGraph.

    owner [nodes]: the graph of each node, ascending. count: the number of graphs.
    """

    features: Floats
    sources: Indices
    targets: Indices
    owner: Indices
    count: int


def pack(graphs: Sequence[EncodedGraph]) -> PackedGraphs:
    """Packs one or more graphs into one."""
    sizes = np.array([len(graph.features) for graph in graphs])
    offsets = np.repeat(np.cumsum(sizes) - sizes, [len(graph.sources) for graph in graphs])
    return PackedGraphs(
        features=np.concatenate([graph.features for graph in graphs]),
        sources=np.concatenate([graph.sources for graph in graphs]) + offsets,
        targets=np.concatenate([graph.targets for graph in graphs]) + offsets,
        owner=np.repeat(np.arange(len(graphs)), sizes),
        count=len(graphs),
    )
