"""Who enters the finals, and how long the reference's settings are searched."""

from types import SimpleNamespace
from typing import Any

import pytest

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.run.composition import Composition
from nasmeta.run.reference import entrants
from nasmeta.run.weights import TrialPlan
from nasmeta.trial import TrialResult

TUNED = "tune={optimizer.lr: [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009]}"


def result(trial: int, arch: str, accuracy: float) -> TrialResult:
    return TrialResult(
        trial=trial,
        arch=arch,
        iterations=1,
        status="ok",
        valid_accuracy=accuracy,
        params=1,
        flops=1,
        train_seconds=0.0,
        seconds=0.0,
    )


class Search:
    """What `entrants` sees of a search: its trials, and those of earlier runs."""

    def __init__(
        self, searched: list[tuple[str, float]], earlier: list[tuple[str, float]], *typed: str
    ) -> None:
        overrides = ["dataset=strokes", "search_space=conv_small", "budget.final_candidates=2", *typed]
        self.composition = Composition.of(parse(composed(overrides), trusted=True))
        self.state = SimpleNamespace(
            searched=[result(n, *trial) for n, trial in enumerate(searched)],
            earlier=[result(n, *trial) for n, trial in enumerate(earlier, -len(earlier))],
        )
        reference = self.composition.space.reference()
        self.constraints = SimpleNamespace(reference=reference, feasible=lambda arch: True)
        self.tuned: list[str] = []

    def judge_all(self, plans: list[TrialPlan]) -> list[TrialResult]:
        self.tuned = [plan.arch for plan in plans]
        return [result(plan.trial, plan.arch, 0.1) for plan in plans]


def names() -> tuple[str, list[str]]:
    """The reference and two other architectures, without settings."""
    space = Composition.of(
        parse(composed(["dataset=strokes", "search_space=conv_small"]), trusted=True)
    ).space
    reference = space.reference()
    others = [arch for arch in space.relatives() if arch != reference] or list(space.neighbors(reference))
    others += [arch for arch in space.neighbors(reference) if arch not in others]
    return str(reference), [str(arch) for arch in others[:2]]


def at(arch: str, rate: float) -> str:
    return f"{arch} @ optimizer.lr={rate}"


@pytest.mark.parametrize("ahead", [False, True], ids=["", "the reference's own trials rank first"])
def test_the_reference_is_tuned_as_often_as_the_finalist_with_the_most_settings(ahead: bool) -> None:
    reference, (first, second) = names()
    searched = [(at(first, n / 1000), 0.5 + n / 100) for n in range(1, 10)] + [(at(second, 0.001), 0.4)]
    searched += [(at(reference, n / 1000), 0.9 if ahead else 0.2) for n in (1, 2)]
    search: Any = Search(searched, [], TUNED, "budget.reference_trials=2")
    opponent, candidates = entrants(search, [])
    assert candidates == [at(first, 0.009), at(first, 0.008)]
    assert len(search.tuned) == 9
    assert opponent.startswith(f"{reference} @ ")


def test_earlier_trials_count_for_the_reference_as_for_the_candidates() -> None:
    reference, (first, second) = names()
    earlier = [(at(first, n / 1000), 0.5 + n / 100) for n in range(1, 9)] + [(at(reference, 0.007), 0.95)]
    search: Any = Search([(at(second, 0.001), 0.4)], earlier, TUNED, "budget.reference_trials=2")
    opponent, candidates = entrants(search, [])
    assert candidates == [at(first, 0.008), at(first, 0.007)]
    assert len(search.tuned) == 8
    assert opponent == at(reference, 0.007)


def test_no_trial_competes_with_what_the_strategy_has_chosen() -> None:
    reference, (first, second) = names()
    search: Any = Search([(second, 0.9), (first, 0.5)], [])
    assert entrants(search, [first]) == (reference, [first])
    assert entrants(search, []) == (reference, [second, first])
