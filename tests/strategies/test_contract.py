"""Every option of conf/strategy that is a black-box strategy, unlisted."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nasmeta.errors import ConfigError, NothingFeasible
from nasmeta.search_spaces.joint import joint
from nasmeta.search_spaces.settings import Range, Setting
from nasmeta.seeding import stream
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.hyperband import models
from nasmeta.strategies.surrogate import ensemble, sampler
from nasmeta.testing.strategies import SPACE, Make, asked, made, play, replay, told
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score
from nasmeta.trial import Outcome
from tests.conftest import ROOT
from tests.meta_learners.options import configured
from tests.option_names import names
from tests.search_spaces.shipped import FILES, shipped

# Strategies that train networks themselves have tests of their own.
OPTIONS = [name for name in names("strategy") if configured("strategy", name)[0].black_box]
LIGHTER = {
    "predictor": ["strategy.mutants=20", "strategy.immigrants=5"],
    "reinforce": ["strategy.units=8"],
}
"""What shrinks the work of strategies that train networks, besides `light_networks`."""


def light(option: str, **changes: Any) -> Strategy:
    return made(option, *LIGHTER.get(option, ()), **changes)


def earlier(trial: int, arch: Digits, score: float) -> Outcome:
    return Outcome(trial=trial, arch=arch, score=score, iterations=5, costs={"params": 1.0, "flops": 1.0})


@contextmanager
def light_networks() -> Iterator[None]:
    """Ensembles of two small networks, trained for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("MEMBERS", 2), ("HIDDEN", 8), ("LAYERS", 1)):
            patch.setattr(ensemble, name, value)
        for name, value in (("FIRST_STEPS", 5), ("STEPS", 1)):
            patch.setattr(sampler, name, value)
        patch.setattr(models, "MUTANTS", 20)
        yield


@pytest.fixture(scope="module", autouse=True)
def _light_networks() -> Iterator[None]:
    with light_networks():
        yield


@pytest.fixture(params=OPTIONS)
def option(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make(option: str) -> Make:
    return partial(light, option)


def test_it_looks_at_as_many_architectures_as_it_is_given(make: Make) -> None:
    history = play(make(trials=30))
    archs = asked(history)
    assert len(archs) == 30
    proposals = [entry for kind, entry in history if kind == "ask"]
    new = [proposal.arch for proposal in proposals if proposal.continues is None]
    assert len(set(new)) == len(new), "an architecture is proposed twice while the space has new ones"
    assert all(SPACE.parse(str(arch)) == arch for arch in archs)


def test_it_is_a_function_of_the_seed(make: Make) -> None:
    assert asked(play(make(seed=3))) == asked(play(make(seed=3)))
    assert asked(play(make(seed=3))) != asked(play(make(seed=4)))
    assert len(asked(play(make(seed=0)))) == 30


@settings(max_examples=8, deadline=None)
@given(
    outstanding=st.sampled_from([1, 2, 4, 7]),
    order=st.integers(0, 99),
    cut=st.integers(0, 60),
    failures=st.sets(st.integers(0, 29)),
)
@pytest.mark.parametrize("option", OPTIONS)
def test_replaying_any_part_of_its_history_continues_identically(
    option: str, outstanding: int, order: int, cut: int, failures: set[int]
) -> None:
    rng = stream(order, "tells")
    history = play(
        light(option),
        outstanding,
        lambda trial: trial in failures,
        pick=lambda waiting: int(rng.integers(waiting)),
    )
    again = light(option)
    replay(again, history[:cut])
    replay(again, history[cut:])
    assert again.done()


@pytest.mark.parametrize("outstanding", [1, 4])
def test_done_is_truthful_and_asking_in_vain_changes_nothing(make: Make, outstanding: int) -> None:
    strategy, patient = make(), make()
    history = play(strategy, outstanding)
    assert strategy.ask() is None
    waiting = 0
    for kind, entry in history:
        if kind == "ask":
            if not waiting:
                assert not patient.done()
            assert patient.ask() == entry
            waiting += 1
        else:
            if waiting == outstanding:
                assert not patient.done(), "trials are outstanding"
            patient.tell(entry)
            waiting -= 1
    assert patient.done()


def test_it_ends_on_a_space_with_fewer_architectures_than_trials(make: Make) -> None:
    space = ToySpace(length=2, base=2)
    for outstanding in (1, 4):
        strategy = make(space=space, trials=20)
        archs = asked(play(strategy, outstanding))
        assert len(set(archs)) == space.size, "it ends before everything was looked at"
        assert strategy.done()
        assert strategy.ask() is None


def test_it_goes_on_where_everything_fails(make: Make) -> None:
    assert len(asked(play(make(trials=25), failing=lambda trial: True))) == 25


@pytest.mark.parametrize("outstanding", [1, 4])
def test_infeasible_architectures_are_never_proposed(make: Make, outstanding: int) -> None:
    archs = asked(play(make(feasible=lambda arch: 1 <= sum(arch.values) <= 6), outstanding))
    assert len(archs) > 10
    assert all(1 <= sum(arch.values) <= 6 for arch in archs)
    with pytest.raises(NothingFeasible, match="none of the architectures"):
        make(feasible=lambda arch: False).ask()


def test_it_repeats_or_ends_once_all_that_is_feasible_was_seen(make: Make) -> None:
    strategy = make(trials=9, feasible=lambda arch: sum(arch.values) <= 1)
    archs = asked(play(strategy))
    assert len(set(archs)) <= len(archs) <= 9
    assert len(set(archs)) <= 5
    assert strategy.done()


NINE = ToySpace(length=2, base=3)


@settings(max_examples=8, deadline=None)
@given(
    allowed=st.sets(st.integers(0, NINE.size - 1)),
    outstanding=st.sampled_from([1, 3]),
    failures=st.sets(st.integers(0, 11)),
    known=st.lists(st.integers(0, NINE.size - 1), max_size=4),
)
@example(allowed=set(), outstanding=1, failures=set(), known=[0])
@example(allowed={4}, outstanding=3, failures={0}, known=[])
@example(allowed={4}, outstanding=1, failures=set(), known=[4, 0])
@example(allowed={0, 8}, outstanding=1, failures=set(range(12)), known=[8, 0, 8])
@pytest.mark.parametrize("option", OPTIONS)
def test_it_works_with_whatever_is_feasible(
    option: str, allowed: set[int], outstanding: int, failures: set[int], known: list[int]
) -> None:
    """Nothing, little or all; after another search's trials; with more trials than architectures."""
    every = [Digits(values) for values in product(range(3), repeat=2)]
    feasible = {every[i] for i in allowed}
    strategy = light(option, space=NINE, trials=12, feasible=feasible.__contains__)
    if strategy.warm_starts:
        strategy.warm_start([earlier(n, every[i], float(n)) for n, i in enumerate(known)])
    if not feasible:
        with pytest.raises(NothingFeasible, match="none of the architectures tried"):
            play(strategy)
        return
    archs = asked(play(strategy, outstanding, lambda trial: trial in failures))
    assert strategy.done()
    assert len(archs) <= 12
    assert set(archs) <= feasible
    assert archs or {every[i] for i in known} >= feasible


def test_what_another_search_knew_may_be_all_that_is_feasible(make: Make, option: str) -> None:
    """One architecture of 46,656, which no draw finds."""
    space = ToySpace(length=6, base=6)
    only = Digits((5, 0, 3, 1, 4, 2))
    strategy = make(space=space, trials=1, feasible=lambda arch: arch == only)
    if not strategy.warm_starts:
        with pytest.raises(NothingFeasible, match="none of the architectures tried"):
            strategy.ask()
        return
    strategy.warm_start([earlier(0, only, 0.5), earlier(1, space.initial(), 0.1)])
    archs = asked(play(strategy))
    # Local search looks at nothing twice: it walks on from what it knows, and ends.
    assert set(archs) == (set() if option == "local_search" else {only})
    assert strategy.done()


@pytest.mark.parametrize("option", ["evolution", "hyperband", "nsga2", "predictor"])
def test_one_earlier_trial_takes_no_start_away(option: str) -> None:
    def first(known: list[Outcome]) -> list[Any]:
        strategy = light(option, space=shipped("conv"), trials=20)
        strategy.warm_start(known)
        proposals = [strategy.ask() for _ in range(3)]
        return [proposal.arch for proposal in proposals if proposal is not None]

    starts = shipped("conv").relatives()[:3]
    assert first([]) == starts
    assert first([earlier(0, shipped("conv").sample(stream(0, "test")), 0.5)]) == starts


@pytest.mark.parametrize("option", ["random", "evolution"])
def test_thousands_of_trials_stay_cheap(option: str) -> None:
    strategy = made(option, space=ToySpace(length=10, base=6), trials=10_000)
    began = 0.0
    for trial in range(10_000):
        if trial == 9_000:
            began = time.process_time()
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, distance_score(proposal.arch)))
    assert (time.process_time() - began) / 1000 < 0.005


@pytest.mark.parametrize("space", [path.stem for path in FILES])
def test_every_strategy_searches_every_space(make: Make, space: str) -> None:
    searched = shipped(space)
    archs = asked(play(make(space=searched, trials=6), 2, score=lambda arch: 1 / len(str(arch))))
    assert len(archs) == 6
    assert all(searched.parse(str(arch)) == arch for arch in archs)


def test_it_searches_settings_too(make: Make) -> None:
    space = joint(ToySpace(2, 3), [Setting.of("optimizer.lr", Range(low=0.001, high=1.0, log=True), 0.01)])
    archs = asked(
        play(make(space=space, trials=24), 3, score=lambda arch: dict(arch.settings)["optimizer.lr"])
    )
    assert all(space.parse(str(arch)) == arch for arch in archs)
    assert len({arch.settings for arch in archs}) > 4


def test_it_learns_from_another_search_before_its_first_ask(make: Make) -> None:
    """Good, bad and failed trials of another one: none of their architectures is proposed as new again."""
    other = play(make(seed=1, trials=20), failing=lambda trial: trial % 5 == 0)
    history = [entry for kind, entry in other if kind == "tell"]
    first, again = make(trials=15), make(trials=15)
    if not first.warm_starts:
        with pytest.raises(ConfigError, match=r"^strategy\.inner: "):
            first.warm_start(history)
        return
    first.warm_start(history)
    again.warm_start(history)
    mine = play(first)
    replay(again, mine)
    new = {entry.arch for kind, entry in mine if kind == "ask" and entry.continues is None}
    assert len(asked(mine)) == 15
    assert not new & {told.arch for told in history}


def test_wrong_tells_are_refused(make: Make) -> None:
    strategy: Strategy = make()
    proposal = strategy.ask()
    assert proposal is not None
    with pytest.raises(ValueError, match="trial 7 is not outstanding"):
        strategy.tell(told(replace(proposal, trial=7), 0.5))
    with pytest.raises(ValueError, match="score of nan"):
        strategy.tell(told(proposal, math.nan))
    strategy = make()
    proposal = strategy.ask()
    assert proposal is not None
    strategy.tell(told(proposal, 0.5))
    with pytest.raises(ValueError, match="trial 0 is not outstanding"):
        strategy.tell(told(proposal, 0.5))


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, list[str]]:
    """What every option asks in a fresh process with another hash seed."""
    script = (
        "import json\n"
        "from tests.strategies.test_contract import OPTIONS, twenty\n"
        "print(json.dumps({option: twenty(option) for option in OPTIONS}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    asked_there: dict[str, list[str]] = json.loads(done.stdout)
    return asked_there


def test_a_fresh_process_with_another_hash_seed_proposes_the_same(
    option: str, elsewhere: dict[str, list[str]]
) -> None:
    assert elsewhere[option] == twenty(option)


def twenty(option: str) -> list[str]:
    with light_networks():
        return [str(arch) for arch in asked(play(light(option, trials=20)))]
