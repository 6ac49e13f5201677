"""Fronts, crowding and hypervolume against brute force and numbers by hand."""

import math
from dataclasses import replace
from itertools import product
from operator import attrgetter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmeta.reporting.figures.curves import front_figure
from nasmeta.reporting.read.ranking import front_of
from nasmeta.run.front import Front
from nasmeta.strategies.nsga2 import NSGA2
from nasmeta.strategies.pareto import Point, crowding, dominates, front, fronts, hypervolume
from nasmeta.testing.strategies import context
from nasmeta.trial import Outcome, TrialResult

GRID = 6


def points(objectives: int) -> st.SearchStrategy[list[Point]]:
    coordinate = st.integers(0, GRID - 1).map(float)
    return st.lists(st.tuples(*[coordinate] * objectives), max_size=12)


some_points = st.integers(1, 3).flatmap(points)


def undominated(cloud: list[Point], among: list[int]) -> list[int]:
    """By the definition: no other is better, and no earlier one is equal."""
    return [
        i
        for i in among
        if not any(dominates(cloud[j], cloud[i]) or (cloud[j] == cloud[i] and j < i) for j in among)
    ]


@given(some_points)
def test_fronts_are_what_peeling_off_the_undominated_gives(cloud: list[Point]) -> None:
    left = list(range(len(cloud)))
    peeled = []
    while left:
        peeled.append(undominated(cloud, left))
        left = [i for i in left if i not in peeled[-1]]
    assert fronts(cloud) == peeled
    assert front(cloud) == (peeled[0] if cloud else [])


COSTS = {"a": 1.0, "b": 2.0, "c": 3.0}


def results(cloud: list[Point]) -> list[TrialResult]:
    return [
        TrialResult(
            trial=i, arch="abc"[int(cost)], iterations=5, status="ok", valid_accuracy=1 - loss / 10,
            valid_ci95=None, valid_loss=None, params=int(COSTS["abc"[int(cost)]]), flops=1,
            train_seconds=1.0, seconds=1.0,
        )
        for i, (loss, cost) in enumerate(cloud)
    ]  # fmt: skip


small = st.integers(0, 2).map(float)


@given(st.lists(st.tuples(small, small), min_size=1, max_size=9), st.randoms())
def test_the_strategy_the_run_and_the_report_have_one_front(cloud: list[Point], random: Random) -> None:
    """On trials with many ties, told in any order."""
    expected = set(undominated(cloud, list(range(len(cloud)))))
    judged = results(cloud)
    shuffled = random.sample(judged, len(judged))

    stored = Front(("params",))
    for result in shuffled:
        joined = stored.add(result)
        assert joined == (result.trial in stored.trials)
    assert stored.trials == expected
    assert [m.result.trial for m in stored.members] == sorted(expected)

    assert {r.trial for r in front_of(shuffled, attrgetter("params"))} == expected

    strategy = NSGA2(
        context(),
        population_size=2,
        start="random",
        objectives=["params"],
        crossover_prob=0.9,
        mutation_prob=0.6,
    )
    told = [
        Outcome(trial=r.trial, arch=r.arch, score=r.valid_accuracy, iterations=5, costs=r.costs)
        for r in judged
    ]
    strategy.size = len(told)
    assert {m.told.trial for m in strategy._survivors(told) if m.front == 0} == expected


def test_a_front_of_proxies_has_no_volume() -> None:
    judged = replace(results([(1.0, 1.0)])[0], valid_accuracy=None, proxy=1e12)
    stored = Front(("params",))
    assert stored.add(judged)
    assert stored.hypervolume(lambda: {"params": 1.0}) is None
    (member,) = stored.summary(checkpoints=False)
    assert (member.proxy, member.checkpoint) == (1e12, None)
    assert front_figure(stored, [judged]).axes[0].get_ylabel().startswith("proxy")


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
