"""Accuracies looked up in a table: microseconds per trial, to judge a strategy over hundreds of seeds.

There are three kinds of tables, which the file tells apart:
- NAS-Bench-201 as one CSV `arch,valid_acc_12,test_acc_200` (benchmark.py);
- the few-shot table of this project, a CSV made by scripts/ (few_shot.py);
- the official NATS-Bench files (nats.py).

A search sees only validation accuracies. The test column is read once, for the chosen architecture and the
reference. No network is trained, so the run has no best.pt, and its dataset and meta-learner do not matter.

A trial's seconds are those that training took when the table was made, or `seconds_per_iteration` of its
budget if the table has none. `budget.max_seconds` counts them as if trials ran one after the other (a
simulated clock, as in Syne Tune, Salinas et al. 2022). A trial that continues another one is charged in full.

Choose it to develop and compare strategies. To find a network for tasks of your own, choose `scratch`.
"""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from nasmeta.config.shipped import option_of
from nasmeta.errors import ArchitectureError, ConfigError, Interrupted
from nasmeta.evaluators.base import Candidate, Evaluator, Judgement, Report
from nasmeta.evaluators.tabular.open_table import fingerprint, is_csv, located, open_table
from nasmeta.evaluators.tabular.sheet import Seconds
from nasmeta.runtime.stored import UsersOnly
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.training.problem import Problem
from nasmeta.training.score import Stop
from nasmeta.trial import Cost, MetaTested

ROWS_CHECKED = 1000
"""At least one of so many first rows must be in the search space."""

File = Annotated[
    str,
    AfterValidator(located),
    UsersOnly("nats_bench unpickles it, which can run code", harmless=is_csv),
]


class Tabular(Evaluator):
    """Looks accuracies up in a table.

    table: a file, or the name of a table of this package.
    learner, dataset: which rows of a few-shot table to use; None if it has only one value.
    seconds_per_iteration: simulated seconds per meta-iteration, for a table without seconds.
    """

    leaves_weights = False
    simulated_time = True

    def __init__(
        self,
        *,
        table: File,
        learner: str | None,
        dataset: str | None,
        seconds_per_iteration: Seconds,
        problem: Problem,
    ) -> None:
        if problem.task.kind != "classification":
            raise ConfigError(
                "evaluator: a table holds accuracies, and these tasks are regression; use dataset=strokes"
            )
        self.problem, self.seconds_per_iteration = problem, seconds_per_iteration
        self.table = open_table(Path(table), learner, dataset)
        self.fingerprint = fingerprint(table)
        self.costs = ("params", "flops") if self.table.has_costs else ()
        self._known = set(self.table.archs)
        _check_space(table, list(islice(self.table.archs, ROWS_CHECKED)), problem.space)

    def budget_error(self, iterations: int) -> str | None:
        budgets = self.table.budgets
        if budgets is None or iterations in budgets:
            return None
        nearest = min(budgets, key=lambda budget: abs(budget - iterations))
        has = ", ".join(map(str, budgets))
        return f"the table has no rows of {iterations} iterations; the nearest of {has} is {nearest}"

    def cost(self, arch: Any) -> Cost | None:
        """The table's costs. Raises ArchitectureError if there is no row, so that it is not proposed."""
        if str(arch) not in self._known:
            raise ArchitectureError(f"evaluator.table has {len(self._known)} rows, but none of {arch}")
        return self.table.cost(str(arch))

    def _judge(self, candidate: Candidate, report: Report, stop: Stop) -> Judgement:
        arch, iterations = candidate.job.arch, candidate.job.iterations
        if stop():
            raise Interrupted(f"stopped before trial {candidate.job.trial} was looked up")
        found = self.table.valid(arch, iterations)
        if found is None:
            raise ArchitectureError(self.budget_error(iterations) or f"the table has no row of {arch}")
        seconds = self.seconds_per_iteration * iterations if found.seconds is None else found.seconds
        return Judgement(valid_accuracy=found.accuracy, valid_ci95=found.ci95, train_seconds=seconds)

    def test(self, arch: str, iterations: int) -> MetaTested:
        return self.table.test(arch, iterations)


def _check_space(path: str, archs: list[str], space: SearchSpace[Any]) -> None:
    """Raises ConfigError if no row is the canonical string of an architecture of the space."""
    reason = "the table is empty"
    for text in archs:
        try:
            canonical = str(space.parse(text))
        except ArchitectureError as error:
            reason = str(error)
            continue
        if canonical == text:
            return
        reason = f"{text} is spelt {canonical} there"
    name = option_of("search_space", space)
    raise ConfigError(f"evaluator.table: {path}: no row is of search_space={name}: {reason}")
