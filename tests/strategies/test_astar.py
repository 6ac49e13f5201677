"""A* against Dijkstra's algorithm over every architecture of small spaces."""

import heapq
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmeta.seeding import stream
from nasmeta.strategies.astar import AStar
from nasmeta.testing.strategies import asked, context, play, toy_costs
from nasmeta.testing.toy_space import Digits, ToySpace
from nasmeta.trial import Cost

SPACE = ToySpace(length=3, base=3)
EVERYTHING = [Digits(values) for values in product(range(3), repeat=3)]
WEIGHT = 2.0


def astar(kind: type[AStar] = AStar, **changed: Any) -> AStar:
    values = {
        "cost": "edits", "heuristic": "none", "goal": 1.0, "weight": WEIGHT, "branch": None,
        "proxy": "toy", "proxy_batches": 2,
    }  # fmt: skip
    for name in [name for name in changed if name in values]:
        values[name] = changed.pop(name)
    return kind(**values, context=context(**{"space": SPACE, "trials": 1000, **changed}))


def edit_cost(costs: Callable[[Digits], Cost] | None, a: Digits, b: Digits) -> float:
    """The definition, written down again."""
    if costs is None:
        return 1.0
    return max(0, costs(b).params - costs(a).params) / costs(SPACE.initial()).params


def dijkstra(cost: Callable[[Digits, Digits], float], start: Digits) -> dict[Digits, float]:
    """The cost of the cheapest path from `start` to everything."""
    found: dict[Digits, float] = {}
    border = [(0.0, str(start))]
    while border:
        g, text = heapq.heappop(border)
        arch = SPACE.parse(text)
        if arch not in found:
            found[arch] = g
            for near in SPACE.neighbors(arch):
                heapq.heappush(border, (g + cost(arch, near), str(near)))
    return found


def random_params(seed: int) -> Callable[[Digits], Cost]:
    return lambda arch: Cost(int(stream(seed, "params", str(arch)).integers(5, 60)), 1)


class Hinted(AStar):
    """Estimates that make h some share of the true cost that is left, another for each architecture."""

    left: dict[Digits, float]
    seed: int

    def estimate(self, arch: Digits) -> float:
        share = float(stream(self.seed, "share", str(arch)).random())
        return self.goal - share * self.left[arch] / self.weight


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    by_params=st.booleans(),
    hinted=st.booleans(),
    outstanding=st.sampled_from([1, 4]),
)
def test_an_admissible_search_stops_at_the_least_cost(
    seed: int, by_params: bool, hinted: bool, outstanding: int
) -> None:
    rng = stream(seed, "oracle")
    goals = {EVERYTHING[i] for i in rng.choice(len(EVERYTHING), 3, replace=False)}
    costs = random_params(seed) if by_params else None
    paths = dijkstra(lambda a, b: edit_cost(costs, a, b), SPACE.initial())
    # What is left from each: backwards from the goals, along reversed edges.
    backwards = [dijkstra(lambda a, b: edit_cost(costs, b, a), goal) for goal in goals]
    left = {arch: min(found[arch] for found in backwards) for arch in EVERYTHING}
    strategy = astar(
        Hinted if hinted else AStar,
        cost="params" if by_params else "edits",
        costs=costs or toy_costs,
        seed=seed,
    )
    if isinstance(strategy, Hinted):
        strategy.left, strategy.seed = left, seed
    history = play(
        strategy,
        outstanding,
        score=lambda arch: float(arch in goals),
        pick=lambda waiting: int(rng.integers(waiting)),
    )
    reached = strategy.reached()
    assert reached in goals
    assert strategy.path_costs[reached] == pytest.approx(min(paths[goal] for goal in goals))
    archs = asked(history)
    assert len(set(archs)) == len(archs), "reopening costs no trial"


class Perfect(AStar):
    """Knows how many edits are left."""

    def estimate(self, arch: Digits) -> float:
        return self.goal - sum(value != 2 for value in arch.values) / self.weight


def solved(arch: Digits) -> float:
    return float(arch == Digits((2, 2, 2)))


def test_a_perfect_heuristic_walks_straight_and_none_looks_everywhere() -> None:
    straight, blind = asked(play(astar(Perfect), score=solved)), asked(play(astar(), score=solved))
    assert len(straight) == 4, "the start and three edits"
    assert len(blind) > 15


def test_without_a_heuristic_it_goes_by_cost() -> None:
    strategy = astar(goal=2.0)
    archs = asked(play(strategy, score=solved))
    costs = [strategy.path_costs[arch] for arch in archs]
    assert costs == sorted(costs)
    assert set(archs) == set(EVERYTHING), "no goal: everything is looked at, then it ends"
    assert strategy.reached() is None
    assert strategy.done()


def share(arch: Digits) -> float:
    """More of what the features see is better: the digits' logarithms."""
    return sum(value > 0 for value in arch.values) / 6 + sum(value > 1 for value in arch.values) / 6


@pytest.mark.parametrize("heuristic", ["fitted", "proxy"])
def test_estimates_find_a_goal_sooner(heuristic: str) -> None:
    space = ToySpace(length=4, base=3)

    def trials(heuristic: str) -> int:
        strategy = astar(heuristic=heuristic, weight=50.0, goal=4 / 3, space=space)
        return len(asked(play(strategy, score=share)))

    assert trials(heuristic) < trials("none") / 2


def test_a_proxy_is_asked_for_by_its_name_and_may_be_no_number() -> None:
    names = []

    def proxies(name: str, batches: int) -> Callable[[Any], float]:
        names.append((name, batches))
        return lambda arch: float("-inf") if arch.values[0] else 1.0

    assert len(asked(play(astar(heuristic="proxy", proxy="naswot", proxies=proxies, goal=9.0)))) == 27
    assert names == [("naswot", 2)]
    astar(proxy="naswot", proxies=proxies)
    assert names == [("naswot", 2)], "nobody makes a proxy that is not used"


def test_a_branch_limit_draws_neighbours() -> None:
    strategy = astar(branch=2, goal=2.0)
    archs = asked(play(strategy, score=solved))
    assert 3 <= len(archs) < 27 or len(archs) == 27
    first = [arch for arch in archs[1:] if strategy.path_costs[arch] == 1]
    assert len(first) == 2
    other = asked(play(astar(branch=2, goal=2.0, seed=5), score=solved))
    assert archs != other


def test_it_starts_elsewhere_where_the_constraints_refuse_the_initial_architecture() -> None:
    strategy = astar(feasible=lambda arch: sum(arch.values) > 2, goal=2.0)
    archs = asked(play(strategy, score=solved))
    assert archs
    assert all(sum(arch.values) > 2 for arch in archs)
    assert strategy.path_costs[archs[0]] == 0


def test_failed_nodes_are_stepped_through() -> None:
    strategy = astar()
    play(strategy, failing=lambda trial: trial < 7, score=solved)
    reached = strategy.reached()
    assert reached == Digits((2, 2, 2))
    assert strategy.path_costs[reached] == 3
