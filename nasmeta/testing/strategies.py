"""Strategies made and run without a search, to check what every strategy must do."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from nasmeta.config.overrides import composed
from nasmeta.config.schema import Config, parse
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.strategies.progress_file import ProgressFile
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score
from nasmeta.trial import Cost, Outcome, Proposal

Make = Callable[..., Strategy]
SPACE = ToySpace(length=4, base=6)


def toy_costs(arch: Any) -> Cost:
    """A cost that grows with the digits of a toy architecture."""
    return Cost(params=10 + sum(arch.values), flops=20)


def toy_proxies(name: str, batches: int) -> Callable[[Any], float]:
    return lambda arch: float(sum(arch.values))


CONTEXT = SearchContext(
    space=SPACE,
    seed=0,
    trials=30,
    iterations=5,
    feasible=lambda arch: True,
    costs=toy_costs,
    proxies=toy_proxies,
    problem=None,  # type: ignore[arg-type]
    progress_file=ProgressFile(),
)
"""A search of the toy space, for strategies that train nothing."""


def context(**changes: Any) -> SearchContext:
    """CONTEXT with some of its fields changed."""
    return replace(CONTEXT, **changes)


def made(option: str, *overrides: str, **changes: Any) -> Strategy:
    """The strategy of an option of conf/strategy with `overrides`, for CONTEXT with `changes`."""
    configuration = _configuration(option, *overrides)
    strategy: Strategy = configuration.build("strategy", context=context(**changes))
    return strategy


@cache
def _configuration(option: str, *overrides: str) -> Config:
    return parse(composed([f"strategy={option}", *overrides]), trusted=True)


def told(proposal: Proposal, score: float | None) -> Outcome:
    return Outcome(
        trial=proposal.trial,
        arch=proposal.arch,
        score=score,
        iterations=proposal.iterations,
        costs={"params": 1.0, "flops": 1.0},
    )


def play(
    strategy: Strategy,
    outstanding: int = 1,
    failing: Callable[[int], bool] = lambda t: False,
    *,
    score: Callable[[Any], float] = distance_score,
    pick: Callable[[int], int] = lambda waiting: waiting - 1,
) -> list[Any]:
    """Runs a strategy to its end; returns the history: ("ask", Proposal) and ("tell", Outcome) in order.

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
