"""Which budget's model proposes, what it learns from, and whether that helps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nasmeta.seeding import stream
from nasmeta.strategies.hyperband import models
from nasmeta.strategies.hyperband.models import BudgetModels
from nasmeta.testing.strategies import SPACE, made, play, told
from nasmeta.testing.toy_space import Digits, distance_score
from nasmeta.trial import Outcome, Proposal

FIRST = Digits((0, 0, 0, 0))


class Recorder:
    """A sampler that proposes FIRST and keeps what it was asked with."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.asked: list[tuple[list[int], list[Any]]] = []

    def propose(self, told: Sequence[Outcome], pending: Sequence[Any], seen: Any, rng: Any) -> Digits:
        self.asked.append(([t.trial for t in told], list(pending)))
        return FIRST


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ModelSampler", Recorder)


def proposal(trial: int, iterations: int) -> Proposal:
    rng = stream(trial, "arch")
    return Proposal(trial=trial, arch=SPACE.sample(rng), iterations=iterations)


def budgets(least: int = 3, random_share: float = 0.0) -> BudgetModels:
    return BudgetModels(SPACE, lambda arch: True, least=least, random_share=random_share)


def test_the_largest_budget_with_enough_trials_proposes(recorded: None) -> None:
    strategy, rng = budgets(), stream(0, "ask")
    told_so_far: dict[int, list[int]] = {1: [], 3: [], 9: []}
    for trial, iterations in enumerate([1, 1, 1, 3, 3, 1, 3, 9, 9]):
        strategy.tell(told(proposal(trial, iterations), None if trial == 4 else 0.5))
        told_so_far[iterations].append(trial)
        known = [budget for budget, trials in told_so_far.items() if len(trials) >= 3]
        arch = strategy.propose([], set(), rng)
        assert (arch is None) == (not known)
        if known:
            asked: Any = strategy._samplers[max(known)]
            assert asked.asked[-1] == (told_so_far[max(known)], [])


def test_only_what_the_budget_does_not_know_is_pending(recorded: None) -> None:
    strategy = budgets()
    for trial in range(3):
        strategy.tell(told(proposal(trial, 3), 0.5))
    waiting = [proposal(3, 1), proposal(4, 3), proposal(5, 9)]
    promoted = replace(proposal(0, 9), trial=6, continues=0)
    strategy.propose([promoted, *waiting], set(), stream(0, "ask"))
    sampler: Any = strategy._samplers[3]
    assert sampler.asked == [([0, 1, 2], [p.arch for p in waiting])]


def test_a_share_of_the_architectures_stays_random(recorded: None) -> None:
    strategy, rng = budgets(random_share=0.25), stream(0, "ask")
    for trial in range(3):
        strategy.tell(told(proposal(trial, 1), 0.5))
    drawn = sum(strategy.propose([], set(), rng) is None for _ in range(2000))
    assert drawn / 2000 == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 2000) ** 0.5)


def test_it_begins_with_better_architectures_than_hyperband() -> None:
    """A third of them is as good as any draw, whose mean score on the toy space is about -8."""

    def mean(option: str, seed: int) -> float:
        options = ("strategy.min_share=0.2", "strategy.start=random")
        history = play(made(option, *options, seed=seed, trials=40, iterations=9))
        new = [entry.arch for kind, entry in history if kind == "ask" and entry.continues is None]
        return float(np.mean([distance_score(arch) for arch in new[12:]]))

    plain, modelled = ([mean(option, seed) for seed in (0,)] for option in ("hyperband", "model_hyperband"))
    assert np.mean(modelled) > np.mean(plain) + 1


def test_trials_of_another_search_teach_its_models(recorded: None) -> None:
    strategy = made("model_hyperband", "strategy.model_trials=3", "strategy.random_share=0")
    strategy.warm_start([told(proposal(trial, 5), 0.5) for trial in range(3)])
    first = strategy.ask()
    assert first is not None
    assert first.arch == FIRST
