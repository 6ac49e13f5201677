"""Where the operations of a graph stand in its picture.

The longest path from input to output runs along rows, left to right. Everything else is in lanes above the
rows: the operations of shortcuts, and the edges that skip operations. A row ends only if every edge that
leaves it starts at its last operation, so that a single line leads to the next row. Shortcuts branch off
from that line there.
"""

from dataclasses import dataclass

from nasmeta.search_spaces.graph import ArchitectureGraph

ROW_LENGTH = 10
"""The most operations of the path in a row. A row holds as many whole blocks as fit."""

WEIGHTED = ("conv", "sep", "res", "dil", "nor_conv", "linear")
"""An operation whose name begins with one of these begins a block."""

Edge = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """The places of a graph's nodes and edges.

    rows: the nodes of the path, row by row. spots: node -> (row, column in that row, lane); lane 0 is the
    path itself. passes: an edge that skips operations -> its lane.
    """

    rows: tuple[tuple[int, ...], ...]
    spots: dict[int, tuple[int, float, int]]
    passes: dict[Edge, int]

    def lanes(self, row: int) -> int:
        """The number of lanes above a row."""
        above = [lane for place, _, lane in self.spots.values() if place == row]
        above += [lane for (_, target), lane in self.passes.items() if self.spots[target][0] == row]
        return max(above, default=0)


def layout(graph: ArchitectureGraph) -> Layout:
    """The layout of a graph; edges and operations keep their indices."""
    edges = edges_of(graph)
    path = longest_path(graph, edges)
    columns = {node: float(place) for place, node in enumerate(path)}
    columns |= _beside(graph, edges, columns)
    rows = _rows(graph, path, columns, edges)
    row_of = [row for row, nodes in enumerate(rows) for _ in nodes]
    first = [columns[nodes[0]] for nodes in rows]
    lanes, passes = _lanes(edges, columns, path)
    spots = {}
    for node, column in columns.items():
        row = row_of[int(column + 0.5)]
        spots[node] = (row, column - first[row], lanes.get(node, 0))
    return Layout(rows, spots, passes)


def edges_of(graph: ArchitectureGraph) -> list[Edge]:
    """Every (source, target), in order."""
    return [(int(source), int(target)) for source, target in zip(*graph.adjacency.nonzero(), strict=True)]


def longest_path(graph: ArchitectureGraph, edges: list[Edge]) -> list[int]:
    """The longest path from input to output as nodes; all nodes if nothing connects the two."""
    last = len(graph.operations) - 1
    before: dict[int, int] = {}
    length = {0: 0}
    for source, target in sorted(edges, key=lambda edge: (edge[1], edge[0])):
        if source in length and length[source] + 1 > length.get(target, 0):
            length[target], before[target] = length[source] + 1, source
    if last not in length:
        return list(range(last + 1))
    path = [last]
    while path[-1]:
        path.append(before[path[-1]])
    return path[::-1]


def _beside(graph: ArchitectureGraph, edges: list[Edge], path: dict[int, float]) -> dict[int, float]:
    """The columns of the operations off the path: evenly between what feeds them and where they rejoin it."""
    beside = [node for node in range(len(graph.operations)) if node not in path]
    right: dict[int, tuple[float, int]] = {}  # column where the path is met again, steps until there
    for node in reversed(beside):
        ends = [(path[t], 1) if t in path else (right[t][0], right[t][1] + 1) for s, t in edges if s == node]
        right[node] = min(ends, default=(float(len(path) - 1), 1))
    columns: dict[int, float] = {}
    for node in beside:
        sources = [path.get(s, columns.get(s, 0.0)) for s, t in edges if t == node]
        left, (end, steps) = max(sources, default=0.0), right[node]
        columns[node] = left + (end - left) / (steps + 1)
    return columns


def _rows(
    graph: ArchitectureGraph, path: list[int], columns: dict[int, float], edges: list[Edge]
) -> tuple[tuple[int, ...], ...]:
    """The path in rows of whole blocks. A row is longer than ROW_LENGTH only if a single block is."""
    cuts = [c for c in range(1, len(path)) if _sources(c - 0.5, columns, edges) <= {path[c - 1]}]
    starts = [c for c in cuts if graph.operations[path[c]].startswith(WEIGHTED)] or cuts
    blocks = [path[a:b] for a, b in zip([0, *starts], [*starts, len(path)], strict=True)]
    rows: list[list[int]] = [[]]
    for block in blocks:
        if rows[-1] and len(rows[-1]) + len(block) > ROW_LENGTH:
            rows.append([])
        rows[-1] += block
    return tuple(map(tuple, rows))


def _sources(column: float, columns: dict[int, float], edges: list[Edge]) -> set[int]:
    """The sources of the edges that cross a column."""
    return {source for source, target in edges if columns[source] <= column <= columns[target]}


def _lanes(
    edges: list[Edge], columns: dict[int, float], path: list[int]
) -> tuple[dict[int, int], dict[Edge, int]]:
    """Lanes of the operations off the path, and of the edges that skip operations on it.

    The shortest span chooses first; each takes the lowest free lane.
    """
    order = {node: place for place, node in enumerate(path)}
    spans: list[tuple[float, float, int | Edge]] = []
    for node in columns.keys() - order.keys():
        ends = [columns[t] for s, t in edges if s == node] + [columns[s] for s, t in edges if t == node]
        spans.append((min([*ends, columns[node] - 0.5]), max([*ends, columns[node] + 0.5]), node))
    for source, target in edges:
        if source in order and target in order and order[target] > order[source] + 1:
            spans.append((columns[source], columns[target], (source, target)))
    nodes: dict[int, int] = {}
    passes: dict[Edge, int] = {}
    taken: list[tuple[float, float, int]] = []
    for start, end, what in sorted(spans, key=lambda span: (span[1] - span[0], span[0], str(span[2]))):
        used = {lane for a, b, lane in taken if start < b and a < end}
        lane = next(lane for lane in range(1, len(taken) + 2) if lane not in used)
        taken.append((start, end, lane))
        if isinstance(what, int):
            nodes[what] = lane
        else:
            passes[what] = lane
    return nodes, passes
