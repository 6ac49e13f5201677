"""Strategies made and run without a search, to check what every strategy must do."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from omegaconf import OmegaConf

from nasmeta.config.overrides import composed
from nasmeta.config.schema import resolve
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.strategies.base import Strategy
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score
from nasmeta.trial import Proposal, Told

Make = Callable[..., Strategy]
SPACE = ToySpace(length=4, base=6)


def injected(
    *,
    space: SearchSpace[Any] = SPACE,
    seed: int = 0,
    trials: int = 30,
    feasible: Callable[[Any], bool] = lambda arch: True,
) -> Any:
    """The arguments that a run passes to every strategy."""
    return {"space": space, "seed": seed, "trials": trials, "iterations": 5, "feasible": feasible}


@dataclass(frozen=True)
class ToyCost:
    """The cost of a toy architecture, which grows with its digits."""

    params: int
    flops: int


def toy_costs(arch: Any) -> ToyCost:
    return ToyCost(params=10 + sum(arch.values), flops=20)


def toy_proxies(name: str, batches: int) -> Callable[[Any], float]:
    return lambda arch: float(sum(arch.values))


def made(option: str, **arguments: Any) -> Strategy:
    """The strategy of an option of conf/strategy, made with what a run passes in.

    `arguments` are those of `injected`.
    """
    passed = {**injected(**arguments), "costs": toy_costs, "proxies": toy_proxies}
    strategy: Strategy = _factory(node_of(option), passed)()
    return strategy


def class_of(option: str) -> type[Strategy]:
    """The class of an option of conf/strategy."""
    cls: type[Strategy] = resolve("strategy", node_of(option)["_target_"], trusted=True)
    return cls


@cache
def node_of(option: str) -> dict[str, Any]:
    """The values of an option as a run composes them, including the options nested in it."""
    node: Any = OmegaConf.to_container(composed([f"strategy={option}"])["strategy"])
    return dict(node)


def _factory(node: dict[str, Any], passed: dict[str, Any]) -> Callable[..., Any]:
    target = resolve("strategy", node["_target_"], trusted=True)
    taken = {name: passed[name] for name in inspect.signature(target).parameters if name in passed}
    values = {
        key: _factory(value, passed) if isinstance(value, dict) and "_target_" in value else value
        for key, value in node.items()
        if key != "_target_"
    }
    return partial(target, **values, **taken)


def told(proposal: Proposal, score: float | None) -> Told:
    return Told(proposal.trial, proposal.arch, score, proposal.iterations, 1, 1)


def play(
    strategy: Strategy,
    outstanding: int = 1,
    failing: Callable[[int], bool] = lambda t: False,
    *,
    score: Callable[[Any], float] = distance_score,
    pick: Callable[[int], int] = lambda waiting: waiting - 1,
) -> list[Any]:
    """Runs a strategy to its end; returns the history: ("ask", Proposal) and ("tell", Told) in order.

    outstanding: the most trials that wait for a result at once. failing: whether a trial fails.
    score: an architecture's score. pick: number of waiting trials -> the index of the one that is told next;
    by default the youngest, because tells may come in any order.
    Raises AssertionError if the strategy is not done, proposes nothing, and waits for nothing.
    """
    history: list[Any] = []
    waiting: list[Proposal] = []
    while not strategy.done():
        while len(waiting) < outstanding and (proposal := strategy.ask()) is not None:
            history.append(("ask", proposal))
            waiting.append(proposal)
        assert waiting, "it is not done, proposes nothing, and waits for nothing"
        proposal = waiting.pop(pick(len(waiting)))
        result = told(proposal, None if failing(proposal.trial) else score(proposal.arch))
        history.append(("tell", result))
        strategy.tell(result)
    return history


def asked(history: list[Any]) -> list[Digits]:
    return [entry[1].arch for entry in history if entry[0] == "ask"]


def replay(strategy: Strategy, history: list[Any]) -> None:
    """Replays a history to a new strategy; raises AssertionError if it proposes something else."""
    for kind, entry in history:
        if kind == "ask":
            assert strategy.ask() == entry
        else:
            strategy.tell(entry)
