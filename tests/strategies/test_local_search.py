from typing import Any

import numpy as np
import pytest

from nasmeta.strategies.local_search import LocalSearch
from nasmeta.testing.strategies import SPACE, asked, context, play
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score


def local_search(query: str = "first", starts: int = 1, **arguments: Any) -> LocalSearch:
    chosen: Any = query
    return LocalSearch(context(**arguments), query=chosen, starts=starts, start="random")


def no_ties(arch: Digits) -> float:
    return distance_score(arch) + float(np.dot(arch.values, (1e-3, 1e-4, 1e-5, 1e-6)))


@pytest.mark.parametrize("outstanding", [1, 3])
def test_all_looks_at_whole_neighbourhoods_and_moves_to_their_best(outstanding: int) -> None:
    archs = asked(play(local_search("all", trials=100), outstanding, score=no_ties))
    here, asked_before = archs[0], 1
    while distance_score(here) < 0:
        near = set(SPACE.neighbors(here))
        new = near - set(archs[:asked_before])
        assert set(archs[asked_before : asked_before + len(new)]) == new
        asked_before += len(new)
        here = max(near, key=no_ties)
    assert asked_before > 21


def test_first_moves_as_soon_as_a_neighbour_is_better() -> None:
    archs = asked(play(local_search("first", trials=60, seed=2)))
    here = archs[0]
    for arch in archs[1:]:
        if distance_score(here) == 0:
            break
        assert arch in set(SPACE.neighbors(here))
        here = max(here, arch, key=distance_score)
    assert distance_score(here) == 0


@pytest.mark.parametrize("query", ["all", "first"])
def test_a_local_optimum_leads_to_a_restart(query: str) -> None:
    """Where nothing is better than anything, every start is followed by its neighbours that are new."""
    archs = asked(play(local_search(query, trials=200), score=lambda arch: 0.5))
    seen: set[Digits] = set()
    restarts = 0
    while len(seen) < 150:
        start, seen = archs[len(seen)], seen | {archs[len(seen)]}
        new = set(SPACE.neighbors(start)) - seen
        assert set(archs[len(seen) : len(seen) + len(new)]) == new
        seen |= new
        restarts += 1
    assert restarts >= 7


@pytest.mark.parametrize("query", ["all", "first"])
def test_known_scores_are_used_again_until_nothing_is_new(query: str) -> None:
    space = ToySpace(length=3, base=3)
    strategy = local_search(query, space=space, trials=500)
    archs = asked(play(strategy, 3, score=lambda arch: float(sum(arch.values) % 4)))
    assert len(archs) == len(set(archs)) == 27
    assert strategy.done()


def test_a_walk_starts_at_the_best_of_its_random_draws() -> None:
    archs = asked(play(local_search("first", starts=6, trials=7)))
    assert archs[6] in set(SPACE.neighbors(max(archs[:6], key=distance_score)))


def test_failed_starts_are_left_at_once() -> None:
    archs = asked(play(local_search("first", trials=3), failing=lambda trial: trial == 0))
    assert archs[1] not in set(SPACE.neighbors(archs[0]))
    assert archs[2] in set(SPACE.neighbors(archs[1]))


def test_it_waits_for_a_start_and_not_within_a_neighbourhood() -> None:
    strategy = local_search("first", trials=30)
    first = strategy.ask()
    assert first is not None
    assert strategy.ask() is None
    assert not strategy.done()
    history = play(local_search("first", trials=30), 4, score=lambda arch: 0.5)
    runs = np.array([kind == "ask" for kind, _ in history])
    assert runs[2:6].all(), "four neighbours are looked at together"
