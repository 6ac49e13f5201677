"""More for a run: the budgets that may grow when it is resumed, also after it has ended.

The run ends as if it had had the larger budget from the start. Where that is impossible, the growth is
refused, or the user is told before the run goes on.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nasmeta.config.schema import Config, resolve
from nasmeta.config.shipped import option_of
from nasmeta.errors import ConfigError
from nasmeta.run.state import RunState
from nasmeta.strategies.given import Given

if TYPE_CHECKING:
    from nasmeta.run.composition import Composition

GROWING = tuple(
    f"budget.{name}"
    for name in (
        *("trials", "max_seconds", "reference_trials", "final_candidates", "final_iterations"),
        *("final_rounds", "final_seeds", "test_tasks"),
    )
)
"""The budgets that may grow. The score of a trial of the search depends on none of them."""


def grown(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The budgets of which one configuration has more than another one, as [before, now] by dotted key."""
    old, new = before.get("budget", {}), now.get("budget", {})
    names = [key.removeprefix("budget.") for key in GROWING]
    pairs = {f"budget.{name}": [old[name], new.get(name)] for name in names if name in old}
    return {key: pair for key, pair in pairs.items() if _size(pair[0]) < _size(pair[1])}


def more_trials(config: Config, trials: int) -> str | None:
    """The override that asks for more than the `trials` so far: for twice as many, or twice the seconds.

    None if the strategy cannot go on after the last one.
    """
    budget = config.keys.budget
    if not resolve("strategy", config.groups["strategy"]["_target_"], trusted=True).open_ended:
        return None
    if budget.max_seconds is not None and trials < budget.trials:
        return f"budget.max_seconds={2 * budget.max_seconds:g}"
    return f"budget.trials={2 * budget.trials}"


def _size(budget: float | None) -> float:
    """None is no limit."""
    return math.inf if budget is None else budget


def check_growth(composition: "Composition", state: RunState, added: Mapping[str, Any]) -> list[str]:
    """What the added budgets do that a user might not expect, a line each.

    Raises ConfigError if the run's strategy cannot go on for more trials.
    """
    budget = composition.config.keys.budget
    strategy = composition.strategy(lambda arch: True)
    if "budget.trials" in added and isinstance(strategy, Given):
        raise ConfigError("budget.trials: a training searches nothing; leave it out")
    if "budget.trials" in added and not strategy.open_ended:
        name = option_of("strategy", strategy)
        raise ConfigError(
            f"budget.trials: strategy {name} plans for all trials from the start, so they stay "
            f"{added['budget.trials'][0]}; start a new run"
        )
    falls = not composition.problem.optimizer.open_ended
    if "budget.final_iterations" in added and composition.adaptive and falls:
        raise ConfigError(
            "budget.final_iterations: one schedule of the learning rate spans search and full training, "
            f"so they stay {added['budget.final_iterations'][0]}; start a new run"
        )
    longer = added.keys() & {"budget.final_iterations", "budget.final_rounds"}
    if not state.trained or not longer:
        return []
    if budget.keep == "best":
        return ["budget.keep=best left no last iterates to continue: the finals are trained anew"]
    if "budget.final_iterations" in longer and falls:
        return [
            "the learning rate's schedule spans budget.final_iterations (optimizer.schedule, .warmup): the "
            "finals are trained anew"
        ]
    return []
