"""Iterative deepening against breadth-first layers."""

from typing import Any

import pytest

from nasmeta.strategies.iddfs import IterativeDeepening
from nasmeta.testing.strategies import asked, context, play
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score

SPACE = ToySpace(length=3, base=3)


def iddfs(**changed: Any) -> IterativeDeepening:
    values = {"goal": 1.0, "max_depth": 10, "branch": None, "beam": None}
    for name in [name for name in changed if name in values]:
        values[name] = changed.pop(name)
    return IterativeDeepening(**values, context=context(**{"space": SPACE, "trials": 1000, **changed}))  # type: ignore[arg-type]


def layers() -> list[set[Digits]]:
    """What is 0, 1, 2, ... edits from the initial architecture."""
    found = [{SPACE.initial()}]
    while found[-1]:
        seen = set().union(*found)
        found.append({near for arch in found[-1] for near in SPACE.neighbors(arch)} - seen)
    return found[:-1]


@pytest.mark.parametrize("outstanding", [1, 4])
def test_it_looks_at_one_layer_after_the_other(outstanding: int) -> None:
    strategy = iddfs()
    archs = asked(play(strategy, outstanding))
    for layer in layers():
        assert set(archs[: len(layer)]) == layer
        archs = archs[len(layer) :]
    assert not archs
    assert strategy.done()


def test_within_a_layer_it_goes_depth_first() -> None:
    archs = asked(play(iddfs()))
    first, second = sorted(archs[1:7], key=distance_score, reverse=True), archs[7:19]
    parents = [next(i for i, arch in enumerate(first) if near in SPACE.neighbors(arch)) for near in second]
    assert parents == sorted(parents), "the second layer comes parent by parent, the best parent first"


@pytest.mark.parametrize("outstanding", [1, 4])
def test_the_goal_is_found_at_the_least_depth(outstanding: int) -> None:
    goals = {Digits((2, 2, 0)), Digits((1, 1, 1))}
    strategy = iddfs()
    archs = asked(play(strategy, outstanding, score=lambda arch: float(arch in goals)))
    assert Digits((2, 2, 0)) in archs
    assert Digits((1, 1, 1)) not in archs
    assert strategy.done()
    assert strategy.ask() is None


def test_it_goes_no_deeper_than_it_may() -> None:
    assert set(asked(play(iddfs(max_depth=1)))) == set().union(*layers()[:2])
    assert asked(play(iddfs(max_depth=0))) == [SPACE.initial()]


def test_branch_limits_the_neighbours_of_each() -> None:
    archs = asked(play(iddfs(branch=2, max_depth=2)))
    assert len(asked(play(iddfs(branch=2, max_depth=1)))) == 3
    assert 3 <= len(archs) <= 1 + 2 + 4
    assert archs != asked(play(iddfs(branch=2, max_depth=2, seed=1)))


def test_a_beam_goes_on_from_the_best() -> None:
    archs = asked(play(iddfs(beam=1, max_depth=2)))
    best = max(layers()[1], key=distance_score)
    ties = [arch for arch in layers()[1] if distance_score(arch) == distance_score(best)]
    second = set(archs[7:])
    assert any(second == set(SPACE.neighbors(arch)) & layers()[2] for arch in ties)


def test_a_beam_takes_failures_last() -> None:
    strategy = iddfs(beam=1, max_depth=2)
    history = play(strategy, failing=lambda trial: 1 <= trial <= 5)
    archs = asked(history)
    assert set(archs[7:]) == set(SPACE.neighbors(archs[6])) & layers()[2]


def test_infeasible_architectures_are_not_stepped_through() -> None:
    archs = asked(play(iddfs(feasible=lambda arch: arch.values[0] == 0)))
    assert len(archs) == 9
