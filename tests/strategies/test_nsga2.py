"""NSGA-II: who survives, who breeds, and whether the front grows."""

import math
from typing import Any

import numpy as np
import pytest

from nasmeta.errors import ConfigError, RunFailed
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.nsga2 import NSGA2
from nasmeta.strategies.pareto import dominates, hypervolume
from nasmeta.strategies.random import RandomSearch
from nasmeta.testing.strategies import SPACE, context
from nasmeta.testing.toy_space import Digits, distance_score
from nasmeta.trial import Outcome, Proposal


def nsga2(population: int = 6, objectives: list[str] | None = None, **rest: Any) -> NSGA2:
    chosen = objectives or ["params"]
    return NSGA2(
        population_size=population,
        start="random",
        objectives=chosen,
        crossover_prob=0.9,
        mutation_prob=0.63,
        context=context(**rest),
    )


def outcome(trial: int, arch: Digits, score: float | None, params: int) -> Outcome:
    return Outcome(trial=trial, arch=arch, score=score, iterations=5, costs={"params": params})


def judged(proposal: Proposal) -> Outcome:
    """The score is high at 1-2-3-4, the cost is the sum of the digits: they disagree."""
    arch = proposal.arch
    return Outcome(
        trial=proposal.trial,
        arch=arch,
        score=distance_score(arch),
        iterations=proposal.iterations,
        costs={"params": sum(arch.values)},
        seconds=1.0,
    )


def run(strategy: Strategy) -> list[Outcome]:
    history = []
    while not strategy.done():
        proposal = strategy.ask()
        assert proposal is not None
        history.append(judged(proposal))
        strategy.tell(history[-1])
    return history


def volume(history: list[Outcome]) -> float:
    return hypervolume([(-(t.score or 0.0), float(t.costs["params"] or 0)) for t in history], (15.0, 21.0))


def test_the_front_is_larger_than_random_searchs() -> None:
    bred = [volume(run(nsga2(10, seed=seed, trials=80))) for seed in range(10)]
    drawn = [volume(run(RandomSearch(context(seed=seed, trials=80)))) for seed in range(10)]
    assert np.mean(bred) > np.mean(drawn) + 5


def test_survivors_come_front_by_front_and_the_lonely_first() -> None:
    strategy = nsga2(4, trials=8)
    history = run(strategy)
    points = {t.trial: (-(t.score or 0.0), float(t.costs["params"] or 0)) for t in history}
    kept = {member.told.trial for member in strategy.parents}
    assert len(kept) == 4
    for trial in set(points) - kept:
        for other in kept:
            assert not dominates(points[trial], points[other]), "a dominated one survives its dominator"


def test_a_crowded_front_keeps_its_ends() -> None:
    strategy = nsga2(3)
    everyone = [
        outcome(i, SPACE.initial(), score, cost)
        for i, (score, cost) in enumerate([(0, 0), (1, 1), (2, 2), (3, 10)])
    ]
    survivors = strategy._survivors(everyone)
    assert [m.told.trial for m in survivors] == [0, 3, 2], "crowding: 1 has 2/3 + 2/10, 2 has 2/3 + 9/10"


def test_a_generation_ends_with_as_many_tells_and_nobody_waits_for_it() -> None:
    strategy = nsga2(4, trials=12)
    asked = [strategy.ask() for _ in range(6)]
    assert not strategy.parents
    for proposal in reversed(asked):
        assert proposal is not None
        strategy.tell(judged(proposal))
    assert {m.told.trial for m in strategy.parents} == {2, 3, 4, 5}
    assert [p.trial for p in (strategy.ask() for _ in range(6)) if p] == [6, 7, 8, 9, 10, 11]
    assert [told.trial for told in strategy.children] == [1, 0]


def test_failures_are_worse_than_anything() -> None:
    strategy = nsga2(2, trials=4)
    for _ in range(4):
        proposal = strategy.ask()
        assert proposal is not None
        bad = outcome(proposal.trial, proposal.arch, None, 0)
        strategy.tell(bad if proposal.trial % 2 else judged(proposal))
    assert {m.told.trial for m in strategy.parents} == {0, 2}
    assert strategy._point(outcome(9, SPACE.initial(), None, 0)) == (math.inf, math.inf)


def test_wrong_objectives_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.objectives: 'parms' is unknown.*params"):
        nsga2(objectives=["parms"])
    with pytest.raises(ConfigError, match="one twice"):
        nsga2(objectives=["flops", "flops"])
    strategy = nsga2(2, objectives=["latency"])
    proposals = [strategy.ask(), strategy.ask()]
    strategy.tell(judged(proposals[0]))  # type: ignore[arg-type]
    with pytest.raises(RunFailed, match=r"strategy\.objectives: .*latency"):
        strategy.tell(judged(proposals[1]))  # type: ignore[arg-type]
