"""Every option of conf/strategy, unlisted."""

import math
import subprocess
import sys
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nasmeta.conf_dir import config_directory
from nasmeta.errors import RunFailed
from nasmeta.overrides import composed
from nasmeta.strategies.base import Strategy
from nasmeta.testing.strategies import SPACE, Make, asked, made, play, replay, told

OPTIONS = sorted(path.stem for path in (config_directory() / "strategy").glob("*.yaml"))


@cache
def node_of(name: str) -> dict[str, Any]:
    """The values of an option, as a run composes them."""
    node: Any = OmegaConf.to_container(composed([f"strategy={name}"])["strategy"])
    return dict(node)


@pytest.fixture(params=OPTIONS)
def option(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make(option: str) -> Make:
    return partial(made, node_of(option))


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


@settings(max_examples=15, deadline=None)
@given(outstanding=st.integers(1, 7), cut=st.integers(0, 60), failures=st.sets(st.integers(0, 29)))
@pytest.mark.parametrize("option", OPTIONS)
def test_replaying_any_part_of_its_history_continues_identically(
    option: str, outstanding: int, cut: int, failures: set[int]
) -> None:
    history = play(made(node_of(option)), outstanding, lambda trial: trial in failures)
    again = made(node_of(option))
    replay(again, history[:cut])
    replay(again, history[cut:])
    assert again.done()


def test_it_goes_on_where_everything_fails(make: Make) -> None:
    assert len(asked(play(make(trials=25), failing=lambda trial: True))) == 25


def test_infeasible_architectures_are_never_proposed(make: Make) -> None:
    archs = asked(play(make(feasible=lambda arch: sum(arch.values) <= 6)))
    assert archs
    assert all(sum(arch.values) <= 6 for arch in archs)
    with pytest.raises(RunFailed, match=r"none of 1000 architectures.*constraints\.max_params"):
        make(feasible=lambda arch: False).ask()


def test_repetitions_are_allowed_once_the_space_is_exhausted(make: Make) -> None:
    archs = asked(play(make(trials=9, feasible=lambda arch: sum(arch.values) <= 1)))
    assert len(archs) == 9
    assert len(set(archs)) <= 5


def test_it_learns_from_another_search_before_its_first_ask(make: Make) -> None:
    """Good, bad and failed trials of another one: none of their architectures is proposed as new again."""
    other = play(make(seed=1, trials=20), failing=lambda trial: trial % 5 == 0)
    history = [entry for kind, entry in other if kind == "tell"]
    first, again = make(trials=15), make(trials=15)
    first.learn(history)
    again.learn(history)
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
        strategy.tell(told(type(proposal)(7, proposal.arch, 5), 0.5))
    with pytest.raises(ValueError, match="was told a score of nan"):
        strategy.tell(told(proposal, math.nan))
    strategy = make()
    proposal = strategy.ask()
    assert proposal is not None
    strategy.tell(told(proposal, 0.5))
    with pytest.raises(ValueError, match="trial 0 is not outstanding"):
        strategy.tell(told(proposal, 0.5))


def test_a_fresh_process_with_another_hash_seed_proposes_the_same(make: Make, option: str) -> None:
    script = (
        "from nasmeta.testing.strategies import asked, made, play\n"
        f"print(*asked(play(made({node_of(option)!r}))))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().split() == [str(arch) for arch in asked(play(make()))]
