import numpy as np
import pytest

from nasmeta.errors import ConfigError
from nasmeta.strategies.evolution import RegularizedEvolution
from nasmeta.strategies.random import RandomSearch
from nasmeta.testing.strategies import SPACE, asked, context, play, told
from nasmeta.testing.toy_space import distance_score


def evolution(
    population: int = 5, sample: int = 2, start: str = "random", **arguments: object
) -> RegularizedEvolution:
    return RegularizedEvolution(
        population_size=population,
        sample_size=sample,
        start=start,  # type: ignore[arg-type]
        context=context(**arguments),  # type: ignore[arg-type]
    )


def test_it_finds_better_architectures_than_random_search() -> None:
    def best(strategy: object) -> float:
        return max(distance_score(arch) for arch in asked(play(strategy)))  # type: ignore[arg-type]

    evolved = [best(evolution(10, 3, seed=seed, trials=80)) for seed in range(12)]
    random = [best(RandomSearch(context(seed=seed, trials=80))) for seed in range(12)]
    assert np.mean(evolved) > np.mean(random) + 0.5


def test_children_are_neighbours_of_a_living_member() -> None:
    strategy = evolution()
    history = []
    while not strategy.done():
        proposal = strategy.ask()
        assert proposal is not None
        if proposal.trial >= 5:
            parents = [member.arch for member in strategy.population]
            assert any(proposal.arch in set(SPACE.neighbors(parent)) for parent in parents)
        strategy.tell(told(proposal, distance_score(proposal.arch)))
        history.append(proposal)
    assert len(history) == 30


def test_the_oldest_dies_however_good_it_is() -> None:
    strategy = evolution(population=3)
    for trial in range(4):
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, 100.0 if trial == 0 else 0.0))
    assert [member.trial for member in strategy.population] == [1, 2, 3]


def test_failed_trials_are_no_parents() -> None:
    strategy = evolution(population=3)
    for trial in range(3):
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, None if trial < 2 else 0.0))
    assert [member.trial for member in strategy.population] == [2]


def test_the_best_of_the_sample_is_the_parent() -> None:
    strategy = evolution(population=4, sample=4)
    best = None
    for trial in range(4):
        proposal = strategy.ask()
        assert proposal is not None
        best = proposal.arch if trial == 2 else best
        strategy.tell(told(proposal, 1.0 if trial == 2 else 0.0))
    child = strategy.ask()
    assert child is not None
    assert child.arch in set(SPACE.neighbors(best))


def test_what_is_found_again_is_young_again_and_costs_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = evolution(population=3)
    asks = [strategy.ask() for _ in range(3)]
    first, second, third = (proposal for proposal in asks if proposal is not None)
    for proposal in (first, second, third):
        strategy.tell(told(proposal, None if proposal is third else 1.0))
    new = next(arch for arch in SPACE.neighbors(first.arch) if arch not in (second.arch, third.arch))
    drawn = iter([first.arch, third.arch, new])
    monkeypatch.setattr(strategy.space, "mutate", lambda arch, rng: next(drawn))
    proposal = strategy.ask()
    assert proposal is not None
    assert (proposal.trial, proposal.arch) == (3, new)
    assert [member.trial for member in strategy.population] == [0, 1, 0]


def test_the_first_trial_is_where_it_is_told_to_start() -> None:
    assert asked(play(evolution(start="initial")))[0] == SPACE.initial()
    assert asked(play(evolution(start="reference")))[0] == SPACE.reference()
    tight = evolution(start="reference", feasible=lambda arch: arch != SPACE.reference())
    assert asked(play(tight))[0] != SPACE.reference()


def test_a_sample_larger_than_the_population_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.sample_size: 6 members .* population of 5"):
        evolution(population=5, sample=6)
