from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from nasmeta.reporting.figures.architecture import draw_architecture
from nasmeta.reporting.figures.canvas import rgb
from nasmeta.reporting.figures.episodes import LINE, SEPARATOR, episode_grid, regression_figure
from nasmeta.reporting.figures.layout import ROW_LENGTH, edges_of, layout
from nasmeta.search_spaces.graph import ArchitectureGraph
from tests.reporting.events_of_a_run import chain, graph_of, image_batch, sine_batch

BLOCK = ("conv3", "bn", "relu", "max")
CONV4 = chain(*BLOCK * 4, "flatten")
# input, a plain convolution, then a residual one with a projection, twice over: the row ends at a shortcut.
RESIDUAL = graph_of(
    ["input", "conv3", "bn", "relu", "res3", "bn", "se", "project", "add", "relu", "max",
     "conv3", "bn", "se", "add", "relu", "gap", "output"],
    [(0, 1), (1, 2), (2, 3), (3, 4), (3, 7), (4, 5), (5, 6), (6, 8), (7, 8), (8, 9), (9, 10),
     (10, 11), (10, 14), (11, 12), (12, 13), (13, 14), (14, 15), (15, 16), (16, 17)],
)  # fmt: skip
CELL = graph_of(
    ["input", "nor_conv_3x3", "skip", "avg_pool", "add", "nor_conv_1x1", "nor_conv_3x3", "add", "output"],
    [(0, 1), (0, 2), (0, 3), (1, 4), (4, 5), (4, 6), (5, 7), (6, 7), (2, 7), (3, 8), (7, 8)],
)
DISCONNECTED = graph_of(["input", "conv3", "none", "output"], [(0, 1), (1, 2)])


def patches(figure: Figure) -> tuple[list[FancyBboxPatch], list[FancyArrowPatch]]:
    found = figure.axes[0].patches
    boxes = [patch for patch in found if isinstance(patch, FancyBboxPatch)]
    return boxes, [patch for patch in found if isinstance(patch, FancyArrowPatch)]


@pytest.mark.parametrize("graph", [CONV4, RESIDUAL, CELL, DISCONNECTED])
def test_a_box_for_every_operation_and_an_arrow_for_every_edge(graph: ArchitectureGraph) -> None:
    figure = draw_architecture(graph, "a_long_title" * 20)
    boxes, arrows = patches(figure)
    assert len(boxes) == len(graph.operations)
    assert len(arrows) == graph.adjacency.sum()
    image = rgb(figure)
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert image.min() < 100  # something is drawn


def random_graph(seed: int) -> ArchitectureGraph:
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(3, 14))
    names = ["input", *rng.choice(["conv3", "bn", "add", "max"], nodes - 2), "output"]
    edges = [(i, j) for i in range(nodes) for j in range(i + 1, nodes) if j == i + 1 or rng.random() < 0.15]
    return graph_of(names, [edge for edge in edges if rng.random() < 0.9])


@pytest.mark.parametrize("graph", [CONV4, RESIDUAL, CELL, DISCONNECTED, *map(random_graph, range(12))])
def test_boxes_neither_overlap_nor_leave_the_picture(graph: ArchitectureGraph) -> None:
    figure = draw_architecture(graph)
    width, height = figure.get_size_inches()
    corners = [(box.get_x(), box.get_y(), box.get_width(), box.get_height()) for box in patches(figure)[0]]
    assert len(corners) == len(graph.operations)
    for i, (x, y, w, h) in enumerate(corners):
        assert 0 < x < x + w < width
        assert 0 < y < y + h < height
        for x2, y2, w2, h2 in corners[i + 1 :]:
            assert x + w < x2 or x2 + w2 < x or y + h < y2 or y2 + h2 < y


def test_rows_hold_whole_blocks() -> None:
    rows = layout(CONV4).rows
    assert [len(row) for row in rows] == [9, 10]
    assert sum(rows, ()) == tuple(range(19))
    deep = layout(chain(*BLOCK * 8, "gap")).rows
    assert all(len(row) <= ROW_LENGTH for row in deep)
    assert all(row[0] == 0 or (row[0] - 1) % 4 == 0 for row in deep)


def test_shortcuts_run_in_lanes_above() -> None:
    places = layout(RESIDUAL)
    assert places.spots[7][2] == 1  # the projection
    assert places.passes == {(10, 14): 1}  # the identity
    row_of = {node: spot[0] for node, spot in places.spots.items()}
    for source, target in edges_of(RESIDUAL):
        crosses = row_of[source] != row_of[target]
        assert not crosses or source == places.rows[row_of[source]][-1]


def test_a_row_never_ends_inside_a_shortcut() -> None:
    operations, edges = ["input"], []
    for _ in range(4):  # shortcuts around two convolutions each, of which the second may not begin a row
        first = len(operations)
        operations += ["conv3", "bn", "conv3", "bn", "add"]
        edges += [(node - 1, node) for node in range(first, first + 5)] + [(first - 1, first + 4)]
    graph = graph_of([*operations, "output"], [*edges, (len(operations) - 1, len(operations))])
    assert [row[0] for row in layout(graph).rows] == [0, 6, 16]


def test_parallel_branches_have_lanes_of_their_own() -> None:
    lanes = {node: spot[2] for node, spot in layout(CELL).spots.items()}
    assert [lanes[node] for node in (0, 1, 4, 7, 8)] == [0] * 5
    assert sorted(lanes[node] for node in (2, 3)) == [2, 3]


def test_labels_show_operations_and_widths() -> None:
    texts = [text.get_text() for text in draw_architecture(chain("conv3", "gap"), "trial 3").axes[0].texts]
    assert texts == ["trial 3", "input", "conv3", "16", "gap", "16", "output"]


def test_the_grid_has_a_row_a_class_and_a_line_before_the_query() -> None:
    image = episode_grid(image_batch(way=3, shot=2, query=4))
    tile = 56  # 28 doubled
    assert image.dtype == np.uint8
    assert image.shape == (3 * tile + 2 * 2, 6 * tile + (1 + 3) * 2 + SEPARATOR, 3)
    assert [int(image[row, 5, 0]) for row in (5, 5 + tile + 2, 5 + 2 * (tile + 2))] == [0, 128, 255]
    assert [int(image[row, -5, 0]) for row in (5, 5 + tile + 2, 5 + 2 * (tile + 2))] == [0, 128, 255]
    assert tuple(image[0, 2 * tile + 2 + SEPARATOR // 2]) == LINE


def test_the_grid_keeps_colours_and_bounds_its_size() -> None:
    batch = image_batch(way=25, shot=1, query=15, channels=3, side=84)
    red = batch.support_x.clone()
    red[:, :, 1:] = 0
    image = episode_grid(batch._replace(support_x=red))
    assert image.shape == (20 * 84 + 19 * 2, 9 * 84 + 7 * 2 + SEPARATOR, 3)
    assert image[-1, 0, 0] > 200
    assert image[-1, 0, 1] == 0


def test_regression_draws_support_and_query_of_every_task() -> None:
    figure = regression_figure(sine_batch(tasks=2))
    assert len(figure.axes) == 2
    curve, query, support = figure.axes[0].lines
    assert len(curve.get_xdata()) == 15
    assert np.all(np.diff(curve.get_xdata()) > 0)
    assert (len(query.get_xdata()), len(support.get_xdata())) == (10, 5)
    assert rgb(figure).shape[2] == 3


def test_nothing_global_is_touched(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    draw_architecture(CONV4)
    assert plt.get_fignums() == before
