"""Draws architectures with matplotlib. Uses no global state, so that any thread may draw."""

import textwrap

from nasmeta.reporting.figures.canvas import (
    Axes,
    FancyArrowPatch,
    FancyBboxPatch,
    Figure,
    Path,
    new_figure,
)
from nasmeta.reporting.figures.layout import Layout, edges_of, layout
from nasmeta.search_spaces.graph import ArchitectureGraph

Point = tuple[float, float]

# Inches.
STEP, LANE, GAP = 1.15, 0.58, 0.42
WIDTH, HEIGHT = 0.84, 0.46
MARGIN, TITLE_LINE = 0.35, 0.19
CORNER = 0.12

EDGE, TEXT = "#4a5560", "#1d2530"
# The beginnings of operation names -> their colour. The rows are weights, norms, joins, activations,
# pooling with heads, and squeeze-and-excitation.
COLOURS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("conv", "sep", "res", "dil", "nor_conv", "linear", "project"), "#bcd7f0"),
    (("bn", "gn", "batch", "layer"), "#e4e4e4"),
    (("add", "sum", "concat"), "#f6c9c4"),
    (("relu", "relu6", "gelu", "silu", "tanh"), "#fbe3b5"),
    (("max", "avg", "stride", "flatten", "gap"), "#c9e6c3"),
    (("se",), "#dccdf2"),
)
OTHER = "#ffffff"


def draw_architecture(graph: ArchitectureGraph, title: str = "") -> Figure:
    """A figure of the graph: a box for each operation, with its name and width, and an arrow for each edge.

    Shortcuts run above their row.
    """
    places = layout(graph)
    columns = max(len(row) for row in places.rows)
    width = 2 * MARGIN + (columns - 1) * STEP + WIDTH
    lines = _wrap(title, int((width - 2 * MARGIN) / 0.066))
    top = MARGIN + TITLE_LINE * len(lines) + 0.12 * bool(lines)
    centres, bottom = _centres(places, top)
    figure = new_figure(width, bottom + MARGIN, layout=None)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(bottom + MARGIN, 0))
    axes.set_axis_off()
    for number, line in enumerate(lines):
        y = MARGIN + TITLE_LINE * number
        axes.text(MARGIN, y, line, family="monospace", fontsize=8, color=TEXT, va="center")
    for edge in edges_of(graph):
        axes.add_patch(_arrow(_route(edge, places, centres)))
    for node, centre in centres.items():
        axes.add_patch(_box(centre, graph.operations[node]))
        _label(axes, centre, graph.operations[node], graph.widths[node])
    return figure


def _label(axes: Axes, centre: Point, operation: str, width: int) -> None:
    (x, y), size = centre, min(9.0, 80 / len(operation))
    above = 0.08 if width else 0.0
    axes.text(x, y - above, operation, fontsize=size, color=TEXT, ha="center", va="center")
    if width:
        axes.text(x, y + 0.11, str(width), fontsize=7.5, color=EDGE, ha="center", va="center")


def _centres(places: Layout, top: float) -> tuple[dict[int, Point], float]:
    """Node -> the centre of its box, and the bottom of the last row, in inches. y grows downwards."""
    rows = []
    for row in range(len(places.rows)):
        top += LANE * places.lanes(row) + HEIGHT
        rows.append(top - HEIGHT / 2)
        top += GAP
    centres = {
        node: (MARGIN + WIDTH / 2 + STEP * column, rows[row] - LANE * lane)
        for node, (row, column, lane) in places.spots.items()
    }
    return centres, top - GAP


def _route(edge: tuple[int, int], places: Layout, centres: dict[int, Point]) -> list[Point]:
    """The corners of an edge, from the side of one box to the side of another."""
    (x0, y0), (x1, y1) = (centres[node] for node in edge)
    (row0, _, lane0), (row1, _, lane1) = (places.spots[node] for node in edge)
    aside, up = 0.5 * WIDTH, 0.5 * HEIGHT
    pass_lane = places.passes.get(edge, 0)
    if row0 != row1:
        left = 0.4 * MARGIN
        if pass_lane:
            y = y1 - LANE * pass_lane
            return [(left, y), (x1 - 0.2, y), (x1 - 0.2, y1 - up)]
        if lane1 > 0:
            return [(left, y1), (x1 - aside, y1)]
        turn, right = y0 + up + GAP / 2, x0 + aside + 0.15
        return [(x0 + aside, y0), (right, y0), (right, turn), (left, turn), (left, y1), (x1 - aside, y1)]
    if pass_lane:
        y = y0 - LANE * pass_lane
        return [(x0 + 0.2, y0 - up), (x0 + 0.2, y), (x1 - 0.2, y), (x1 - 0.2, y1 - up)]
    if lane0 == 0 and lane1 > 0:
        return [(x0 + 0.2, y0 - up), (x0 + 0.2, y1), (x1 - aside, y1)]
    if lane0 > 0 and lane1 == 0:
        return [(x0 + aside, y0), (x1 - 0.2, y0), (x1 - 0.2, y1 - up)]
    return [(x0 + aside, y0), (x1 - aside, y1)]


def _arrow(corners: list[Point]) -> FancyArrowPatch:
    """An arrow along `corners`; the inner ones are rounded."""
    points, codes = [corners[0]], [Path.MOVETO]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        points += [_towards(corner, before), corner, _towards(corner, after)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    points.append(corners[-1])
    codes.append(Path.LINETO)
    return FancyArrowPatch(
        path=Path(points, codes), arrowstyle="-|>", mutation_scale=9, lw=1.1, color=EDGE, fill=False, zorder=1
    )


def _towards(corner: Point, other: Point) -> Point:
    """The point CORNER away from `corner`, but not beyond the middle."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    share = min(0.5, CORNER / max(abs(dx), abs(dy), 1e-9))
    return corner[0] + dx * share, corner[1] + dy * share


def _box(centre: Point, operation: str) -> FancyBboxPatch:
    colour = next((colour for names, colour in COLOURS if operation.startswith(names)), OTHER)
    corner = (centre[0] - WIDTH / 2 + 0.04, centre[1] - HEIGHT / 2 + 0.04)
    style = "round,pad=0.04,rounding_size=0.09"
    return FancyBboxPatch(
        corner, WIDTH - 0.08, HEIGHT - 0.08, boxstyle=style, fc=colour, ec=EDGE, lw=0.9, zorder=2
    )


def _wrap(title: str, width: int) -> list[str]:
    """The title in lines of at most `width` characters. It may break after "_", between blocks."""
    parts = textwrap.wrap(title.replace("_", "_ "), max(width, 20), break_long_words=True)
    return [part.replace("_ ", "_") for part in parts]
