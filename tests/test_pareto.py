"""Fronts, crowding and hypervolume against brute force and numbers by hand."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmeta.pareto import Point, crowding, dominates, fronts, hypervolume

GRID = 6


def points(objectives: int) -> st.SearchStrategy[list[Point]]:
    coordinate = st.integers(0, GRID - 1).map(float)
    return st.lists(st.tuples(*[coordinate] * objectives), max_size=12)


some_points = st.integers(1, 3).flatmap(points)


@given(some_points)
def test_fronts_are_what_peeling_off_the_undominated_gives(cloud: list[Point]) -> None:
    left = list(range(len(cloud)))
    peeled = []
    while left:
        front = [i for i in left if not any(dominates(cloud[j], cloud[i]) for j in left)]
        peeled.append(front)
        left = [i for i in left if i not in front]
    assert fronts(cloud) == peeled


def test_domination() -> None:
    assert dominates((1, 2), (1, 3))
    assert not dominates((1, 2), (1, 2))
    assert not dominates((1, 3), (2, 2))
    assert dominates((1e9, 1e9), (math.inf, math.inf))


@given(some_points.filter(bool))
def test_hypervolume_counts_the_cells_of_a_grid(cloud: list[Point]) -> None:
    cells = product(range(GRID), repeat=len(cloud[0]))
    covered = sum(any(all(x <= c for x, c in zip(p, cell, strict=True)) for p in cloud) for cell in cells)
    assert hypervolume(cloud, (float(GRID),) * len(cloud[0])) == pytest.approx(covered)


def test_hypervolume_by_hand() -> None:
    assert hypervolume([], (1.0, 1.0)) == 0
    assert hypervolume([(0.5, 0.25), (0.25, 0.5)], (1.0, 1.0)) == pytest.approx(0.375 * 2 - 0.25)
    assert hypervolume([(1.0, 0.0)], (1.0, 1.0)) == 0, "a point on the border dominates nothing inside"
    assert hypervolume([(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)], (1.0, 1.0, 2.0)) == pytest.approx(2.0)


def test_crowding_by_hand() -> None:
    """Ranges 10 and 10; the gaps around the inner points are 4 and 7, then 9 and 7."""
    front = [(0.0, 10.0), (1.0, 7.0), (4.0, 3.0), (10.0, 0.0)]
    inner = [(4 - 0) / 10 + (10 - 3) / 10, (10 - 1) / 10 + (7 - 0) / 10]
    assert crowding(front) == pytest.approx([math.inf, *inner, math.inf])
    assert crowding([front[2], front[0], front[3], front[1]]) == pytest.approx(
        [inner[1], math.inf, math.inf, inner[0]]
    )
    assert crowding([(1.0, 1.0)] * 3) == [math.inf, 0.0, math.inf]
    assert crowding([(math.inf, math.inf)] * 3) == [math.inf, 0.0, math.inf]
