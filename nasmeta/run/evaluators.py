"""The evaluators that judge a run's trials, in the run's own process or in a worker."""

from nasmeta.config.keys import BudgetConfig
from nasmeta.evaluators.base import Evaluator, Report
from nasmeta.evaluators.scratch import Scratch
from nasmeta.training.best_iterate import KeepBest
from nasmeta.training.problem import Problem
from nasmeta.training.score import Stop
from nasmeta.trial import Job, TrialResult


class Evaluators:
    """The evaluators of a run.

    for_search: judges the trials, and the finals unless these are trained from scratch (by `Scratch`).
    problem: what architectures are judged on. budget: says how networks are trained in full.
    """

    def __init__(self, for_search: Evaluator, problem: Problem, budget: BudgetConfig) -> None:
        self.for_search, self.problem, self._budget = for_search, problem, budget

    def load(self) -> None:
        """Loads the data if any network is trained, so that errors in it come before any trial."""
        if self.for_search.trains_networks():
            self.problem.load()

    def evaluate(self, job: Job, report: Report, stop: Stop) -> TrialResult:
        """Runs a job with the evaluator of its phase. See Evaluator.evaluate for `report` and `stop`."""
        return self._evaluator(job).evaluate(job, report, stop)

    def _evaluator(self, job: Job) -> Evaluator:
        """The evaluator of a job. A training that a later round continues has to leave the last iterate."""
        if job.phase in ("search", "tuning") or not self.for_search.finals_from_scratch:
            return self.for_search
        budget = self._budget
        keep = KeepBest.of(budget) if job.iterations == budget.final_iterations else None
        problem = self.problem.in_full(budget, job.network)
        return Scratch(max_seconds=None, criterion="accuracy", problem=problem, keep=keep)
