"""What every strategy must do, as checks over a strategy made by `make(**injected)`."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from nasmeta.strategies.base import Proposal, Strategy, Told
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score

Make = Callable[..., Strategy]
SPACE = ToySpace(length=4, base=6)


def injected(*, seed: int = 0, trials: int = 30, feasible: Callable[[Any], bool] = lambda arch: True) -> Any:
    """The arguments that a run passes in."""
    return {"space": SPACE, "seed": seed, "trials": trials, "iterations": 5, "feasible": feasible}


def made(node: dict[str, Any], **arguments: Any) -> Strategy:
    """The strategy of an option's values, options inside it among them; loads neither Hydra nor torch."""
    strategy: Strategy = _factory(node)(**injected(**arguments))
    return strategy


def _factory(node: dict[str, Any]) -> Callable[..., Any]:
    module, _, name = node["_target_"].rpartition(".")
    values = {
        key: _factory(value) if isinstance(value, dict) and "_target_" in value else value
        for key, value in node.items()
        if key != "_target_"
    }
    return partial(getattr(import_module(module), name), **values)


def told(proposal: Proposal, score: float | None) -> Told:
    return Told(proposal.trial, proposal.arch, score, proposal.iterations, 1, 1)


def play(
    strategy: Strategy, outstanding: int = 1, failing: Callable[[int], bool] = lambda t: False
) -> list[Any]:
    """Runs a strategy to its end on `distance_score`; returns the history of ("ask" | "tell", ...)."""
    history: list[Any] = []
    waiting: list[Proposal] = []
    while not strategy.done():
        while len(waiting) < outstanding and (proposal := strategy.ask()) is not None:
            history.append(("ask", proposal))
            waiting.append(proposal)
        # The youngest first: tells come in any order.
        proposal = waiting.pop()
        result = told(proposal, None if failing(proposal.trial) else distance_score(proposal.arch))
        history.append(("tell", result))
        strategy.tell(result)
    return history


def asked(history: list[Any]) -> list[Digits]:
    return [entry[1].arch for entry in history if entry[0] == "ask"]


def replay(strategy: Strategy, history: list[Any]) -> None:
    """Takes a new strategy through a history; raises AssertionError where it proposes something else."""
    for kind, entry in history:
        if kind == "ask":
            assert strategy.ask() == entry
        else:
            strategy.tell(entry)
