"""Which strategies, evaluators, executors and meta-learners go together, in one table.

Attributes of their classes say what each part is or needs (see Strategy, Evaluator, Executor and
MetaLearner). A row of the table says which of these conflict, why, and what to use instead. What is not in
the table works; a test runs every combination of the options in conf/.

A part itself checks what it cannot do alone, or with the search space or the dataset.
"""

from collections.abc import Callable
from dataclasses import dataclass

from nasmeta.config.keys import RunKeys
from nasmeta.config.shipped import option_of
from nasmeta.errors import ConfigError
from nasmeta.evaluators.base import Evaluator
from nasmeta.executors.base import Executor
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.run.rounds import rounds_of
from nasmeta.strategies.base import Strategy

LIMITED = {
    "max_params": "params",
    "max_flops": "flops",
    "max_memory_kib": "memory",
    "max_flash_kib": "flash",
    "max_latency_ms": "latency",
}
"""The cost that each key of `constraints` limits, as Evaluator.costs names it. The measured one is last."""


@dataclass(frozen=True)
class Parts:
    """The parts of a run and its run-wide keys. The executor is a class, because it is not made yet."""

    strategy: Strategy
    evaluator: Evaluator
    executor: type[Executor]
    learner: MetaLearner
    keys: RunKeys

    @property
    def names(self) -> dict[str, str]:
        """The names of the parts as options."""
        groups = {"strategy": "strategy", "evaluator": "evaluator", "learner": "meta_learner"}
        return {part: option_of(group, getattr(self, part)) for part, group in groups.items()}


@dataclass(frozen=True)
class Row:
    """conflict: returns which key is wrong and why, or None; instead: what to use."""

    conflict: Callable[[Parts], str | None]
    instead: str


def row(key: str, conflicts: Callable[[Parts], bool], why: str, instead: str) -> Row:
    """A row for `key`; `why` may name the parts: {strategy}, {evaluator}, {learner}."""

    def conflict(parts: Parts) -> str | None:
        return f"{key}: {why.format(**parts.names)}" if conflicts(parts) else None

    return Row(conflict, instead)


def _budget(parts: Parts) -> str | None:
    """The conflict if the run asks for a budget that the evaluator does not have."""
    asked = {"search_iterations": parts.keys.budget.search_iterations}
    if not parts.evaluator.finals_from_scratch:
        asked["final_iterations"] = parts.keys.budget.final_iterations
    wrong = {name: parts.evaluator.budget_error(iterations) for name, iterations in asked.items()}
    return next((f"budget.{name}: {reason}" for name, reason in wrong.items() if reason), None)


def _varied_budget(parts: Parts) -> str | None:
    """The conflict if the strategy asks for a budget of its own that the evaluator does not have."""
    budgets = parts.strategy.budgets
    reason = next((reason for budget in budgets if (reason := parts.evaluator.budget_error(budget))), None)
    if reason is None:
        return None
    asks = ", ".join(map(str, budgets))
    return f"strategy: {parts.names['strategy']} asks for {asks} iterations, and {reason}"


def _unknown_cost(parts: Parts) -> str | None:
    """The conflict if a cost is an objective or limited, but the evaluator does not know it."""
    limits = parts.keys.constraints
    wanted = [("strategy.objectives", cost) for cost in parts.strategy.objectives]
    wanted += [(f"constraints.{k}", c) for k, c in LIMITED.items() if getattr(limits, k) is not None]
    missing = [(key, cost) for key, cost in wanted if cost not in parts.evaluator.costs]
    if not missing:
        return None
    key, cost = missing[0]
    return f"{key}: evaluator {parts.names['evaluator']} does not know the {cost} of a network"


def _unchecked_limit(parts: Parts) -> str | None:
    """The conflict if a cost is limited and every task takes a network of its own."""
    limited = [key for key in LIMITED if getattr(parts.keys.constraints, key) is not None]
    if parts.strategy.adaptation is None or not limited:
        return None
    name = parts.names["strategy"]
    return (
        f"constraints.{limited[0]}: with strategy {name} every task takes its own network, of whatever cost"
    )


TABLE: tuple[Row, ...] = (
    row(
        "history",
        lambda p: bool(p.keys.history) and not p.strategy.warm_starts,
        "strategy {strategy} cannot use the trials of other runs",
        "strategy=evolution, predictor or local_search, or history=[]",
    ),
    row(
        "compile",
        lambda p: p.keys.compile and p.strategy.relaxation is not None,
        "the relaxed network of strategy {strategy} changes while it learns",
        "compile=false",
    ),
    row(
        "tune",
        lambda p: bool(p.keys.tune) and not p.strategy.black_box,
        "strategy {strategy} trains one network for all architectures, which has one set of settings",
        "strategy=evolution, or tune=null",
    ),
    row(
        "tune",
        lambda p: bool(p.keys.tune) and not p.evaluator.continues,
        "evaluator {evaluator} does not train candidates one by one, so they have no settings of their own",
        "evaluator=scratch, or tune=null",
    ),
    row(
        "strategy.second_order",
        lambda p: p.strategy.unrolls and not p.learner.descends,
        "{learner} descends no loss to unroll",
        "strategy.second_order=false, or meta_learner=maml, protonet",
    ),
    row(
        "evaluator",
        lambda p: p.strategy.adaptation is not None and not p.evaluator.continues,
        "strategy {strategy} trains one network whose architecture adapts to every task, and "
        "evaluator {evaluator} judges fixed architectures one by one",
        "evaluator=scratch",
    ),
    Row(_unchecked_limit, "strategy=differentiable, or no limit"),
    row(
        "budget.final_iterations",
        lambda p: (
            p.strategy.adaptation is not None
            and p.keys.budget.final_iterations < p.keys.budget.search_iterations
        ),
        "the network of strategy {strategy} goes on from the search, so it would be trained longer than its "
        "reference",
        "at least budget.search_iterations",
    ),
    row(
        "evaluator",
        lambda p: not p.strategy.black_box and not p.evaluator.trains_networks(),
        "strategy {strategy} trains on tasks, and evaluator {evaluator} looks up results of other tasks",
        "evaluator=scratch",
    ),
    row(
        "strategy.goal",
        lambda p: p.strategy.has_goal and not p.evaluator.common_scale,
        "the goal of strategy {strategy} is an accuracy or a loss, and this proxy has another scale",
        "evaluator.proxy=vote (ranks from 0 to 1), evaluator=scratch, or strategy=evolution",
    ),
    row(
        "budget.patience",
        lambda p: p.keys.budget.patience is not None and p.keys.budget.keep == "last",
        "with budget.keep=last no iterate is judged",
        "budget.keep=best, or budget.patience=null",
    ),
    row(
        "budget.keep",
        lambda p: p.keys.budget.keep == "best" and not p.evaluator.finals_from_scratch,
        "evaluator {evaluator} trains no network in full",
        "budget.keep=last, or evaluator=scratch",
    ),
    row(
        "budget.final_rounds",
        lambda p: p.keys.budget.final_rounds > 1 and not p.evaluator.finals_from_scratch,
        "evaluator {evaluator} trains no network in full",
        "budget.final_rounds=1, or evaluator=scratch",
    ),
    row(
        "budget.final_seeds",
        lambda p: p.keys.budget.final_seeds > 1 and not p.evaluator.finals_from_scratch,
        "evaluator {evaluator} trains no network in full",
        "budget.final_seeds=1, or evaluator=scratch",
    ),
    row(
        "budget.final_rounds",
        lambda p: 2 ** (len(rounds_of(p.keys.budget)) - 1) > p.keys.budget.final_iterations,
        "every round trains half as long as the next, and there are too few iterations to halve so often",
        "fewer rounds, or a larger budget.final_iterations",
    ),
    Row(_budget, "a budget that it has"),
    Row(_varied_budget, "strategy=evolution, or evaluator=scratch"),
    Row(_unknown_cost, "evaluator=scratch, or leave it out"),
    row(
        "executor",
        lambda p: p.executor.separate and not p.strategy.black_box,
        "strategy {strategy} learns weights and architecture in one process",
        "executor=serial",
    ),
    row(
        "executor",
        lambda p: p.executor.separate and p.evaluator.owns_weights,
        "evaluator {evaluator} has weights that all trials share in one process",
        "executor=serial",
    ),
    row(
        "executor",
        lambda p: p.executor.separate and not p.evaluator.trains_networks(),
        "evaluator {evaluator} looks up results, which other processes do not speed up",
        "executor=serial",
    ),
)


def check_compatible(parts: Parts) -> None:
    """Raises ConfigError if the parts do not go together, or the executor is not installed."""
    for line in TABLE:
        reason = line.conflict(parts)
        if reason is not None:
            raise ConfigError(f"{reason}; use {line.instead}")
    parts.executor.check_installed()
