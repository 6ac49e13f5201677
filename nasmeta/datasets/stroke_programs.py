"""Characters as programs: a class is a list of strokes, and an example of it is a hand-drawn rendering.

This simplifies an idea of Lake et al., "Human-level concept learning through probabilistic program
induction" (Science 2015). A stroke is one cubic Bezier curve, a program has two to five of them, and later
strokes mostly start on earlier ones. Coordinates are in [-1, 1], x to the right, y downwards.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nasmeta import seeding
from nasmeta.task import Split

Array = NDArray[np.float64]

MAX_STROKES = 5
FAMILY = 5  # successive classes that share all strokes but one
_POINTS = 32  # samples along a stroke
_CHUNK = 100  # images rendered at once; their arrays fit into a processor's cache


def _bernstein(points: int) -> Array:
    """A matrix [points, 4] that maps the control points [4, 2] of a cubic Bezier curve to points on it."""
    t = np.linspace(0.0, 1.0, points)[:, None]
    return np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)


_FINE, _COARSE = _bernstein(_POINTS), _bernstein(9)  # for drawing and for designing

# Standard deviations of the within-class variation at distortion 1, in units of the coordinates.
_JITTER = 0.09  # of each control point
_SHIFT = 0.09  # of each stroke as a whole
_ROTATION = 0.21  # radians
_SLANT = 0.26
_SCALE = 0.17  # of the logarithm, per axis
_POSITION = 0.12
_THICKNESS = 0.26  # of the logarithm
_HALF_WIDTH = 0.07  # of the pen


def draw_stroke(rng: np.random.Generator, strokes: list[Array]) -> Array:
    """Control points [4, 2] of a new stroke: the one of six candidates that is furthest from `strokes`."""
    candidates = [_candidate(rng, strokes) for _ in range(6)]
    return max(candidates, key=lambda stroke: _clearance(stroke, strokes))


def _candidate(rng: np.random.Generator, strokes: list[Array]) -> Array:
    start = rng.uniform(-0.7, 0.7, 2)
    if strokes and rng.random() < 0.7:  # on an earlier stroke, at an end or the middle
        start = _COARSE[4 * rng.integers(3)] @ strokes[rng.integers(len(strokes))]
    angle = rng.integers(8) * np.pi / 4 + rng.normal(0, 0.2)
    chord = rng.uniform(0.6, 1.5) * np.array([np.cos(angle), np.sin(angle)])
    normal = np.array([-chord[1], chord[0]])
    bend = rng.choice([0.0, 0.45, 0.9]) * rng.choice([-1, 1])  # a line, an arc or a bow
    opposite = -1 if rng.random() < 0.25 else 1  # an S
    inner = [start + chord / 3 + bend * normal, start + chord * 2 / 3 + opposite * bend * normal]
    return np.stack([start, *inner, start + chord])


def _clearance(stroke: Array, strokes: list[Array]) -> float:
    """The mean distance of a stroke's points to the others, minus a penalty for points outside the square."""
    curve = _COARSE @ stroke
    outside = np.maximum(np.abs(curve) - 0.9, 0).sum(1).mean()
    if not strokes:
        return float(-outside)
    others = np.concatenate([_COARSE @ other for other in strokes])
    distance = np.linalg.norm(curve[:, None] - others[None], axis=2).min(1)
    return float(np.minimum(distance, 0.4).mean() - 2 * outside)


def family(seed: int, split: Split, number: int) -> list[list[Array]]:
    """The FAMILY programs of the classes `number` * FAMILY and following of a split.

    A program is a list of strokes [4, 2]. All others are the first program with one stroke replaced, so that
    telling them apart takes more than an overall impression. A family never spans two splits.
    """
    rng = seeding.stream(seed, "strokes", split, "family", number)
    parent: list[Array] = []
    for _ in range(rng.integers(2, MAX_STROKES + 1)):
        parent.append(draw_stroke(rng, parent))
    programs = [parent]
    for _ in range(FAMILY - 1):
        changed = int(rng.integers(len(parent)))
        kept = parent[:changed] + parent[changed + 1 :]
        programs.append([*kept, draw_stroke(rng, kept)])
    return [_centred(strokes) for strokes in programs]


def _centred(strokes: list[Array]) -> list[Array]:
    """The strokes, moved and scaled so that their curves fill [-0.72, 0.72] along the longer side."""
    curves = np.concatenate([_COARSE @ stroke for stroke in strokes])
    low, high = curves.min(0), curves.max(0)
    return [(stroke - (low + high) / 2) * (1.44 / (high - low).max()) for stroke in strokes]


def vary(
    strokes: list[Array], examples: int, distortion: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Curves [examples, MAX_STROKES * points, 2] and pen half-widths [examples] of hand-drawn examples.

    Every example perturbs the control points and moves each stroke. Then it slants, scales, rotates and moves
    the whole. `distortion` scales all of this; 0 gives identical examples. If a program has fewer strokes
    than MAX_STROKES, the missing ones are far outside of the picture.
    """

    def normal(deviation: float, *shape: int) -> Array:
        return rng.normal(0, deviation, (examples, *shape)) * distortion

    control = np.stack(strokes) + normal(_JITTER, len(strokes), 4, 2) + normal(_SHIFT, len(strokes), 1, 2)
    angle, slant, scale = normal(_ROTATION), normal(_SLANT), np.exp(normal(_SCALE, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    affine = np.stack([cos, -sin, slant * cos + sin, cos - slant * sin], axis=1).reshape(-1, 2, 2)
    curves = (_FINE @ control).reshape(examples, -1, 2) * scale[:, None] @ affine + normal(_POSITION, 1, 2)
    absent = (MAX_STROKES - len(strokes)) * _POINTS
    curves = np.concatenate([curves, np.full((examples, absent, 2), 9.0)], axis=1)
    return curves, _HALF_WIDTH * np.exp(normal(_THICKNESS))


def render(curves: Array, half_widths: Array, size: int) -> Tensor:
    """Images [n, size, size] uint8, ink 255 on 0, of curves [n, points, 2] drawn with a round pen.

    Every point leaves a Gaussian blot, which is the product of a column and a row. So one matrix product for
    each picture sums the blots of all points. A blot is weighted by the length of curve that it stands for,
    so that a stroke is equally thick where its points are far apart. The sum is cut at half its height, with
    a soft edge.

    This is NumPy on one thread. The arrays are too small for torch's threads to help, and if other processes
    use the cores, waiting for the threads made it seven times slower.
    """
    pictures = np.empty((len(curves), size, size), dtype=np.uint8)
    for first in range(0, len(curves), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        pictures[chunk] = _render(curves[chunk].astype(np.float32), half_widths[chunk], size)
    return torch.from_numpy(pictures)


def _render(points: NDArray[np.float32], half_widths: Array, size: int) -> NDArray[np.uint8]:
    deviation = half_widths.astype(np.float32)[:, None] / 1.1774  # where a Gaussian is at half its height
    strokes = points.reshape(len(points), MAX_STROKES, _POINTS, 2)
    steps = np.linalg.norm(np.diff(strokes, axis=2), axis=3)
    steps = np.pad(steps, ((0, 0), (0, 0), (0, 1))) + np.pad(steps, ((0, 0), (0, 0), (1, 0)))  # both sides
    weights = steps.reshape(len(points), -1) / 2 / (deviation * math.sqrt(2 * math.pi))
    pixels = (np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1
    offsets = (points[..., None] - pixels) / deviation[..., None, None]  # [n, points, 2, size]
    blots = np.exp(offsets * offsets * -0.5)
    columns, rows = blots[:, :, 0], blots[:, :, 1] * weights[..., None]
    ink = rows.transpose(0, 2, 1) @ columns
    shade: NDArray[np.float32] = np.clip((ink - 0.25) * 2, 0, 1)
    return np.rint(shade * 255).astype(np.uint8)
