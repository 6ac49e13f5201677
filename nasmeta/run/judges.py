"""The evaluators that judge a run's trials, in the run's own process or in a worker."""

from nasmeta.evaluators.base import Evaluator, Report
from nasmeta.evaluators.scratch import Scratch
from nasmeta.training.best_iterate import KeepBest
from nasmeta.training.problem import Problem
from nasmeta.training.score import Stop
from nasmeta.trial import Job, TrialResult


class Judges:
    """The evaluators of a run: `search` judges its trials, `final` the reference and final candidates.

    problem: what they judge architectures on. keep: which iterate a full training keeps; None for the last.
    """

    def __init__(self, search: Evaluator, problem: Problem, keep: KeepBest | None) -> None:
        self.search, self.problem = search, problem
        own = search.final == "own"
        self.final: Evaluator = (
            search if own else Scratch(max_seconds=None, criterion="accuracy", problem=problem, keep=keep)
        )

    def load(self) -> None:
        """Loads the data if any network is trained, so that errors in it come before any trial."""
        if self.search.trains_networks():
            self.problem.load()

    def evaluate(self, job: Job, report: Report, stop: Stop) -> TrialResult:
        """Runs a job with the evaluator of its phase. See Evaluator.evaluate for `report` and `stop`."""
        evaluator = self.search if job.phase in ("search", "tuning") else self.final
        return evaluator.evaluate(
            job.arch, job.iterations, job.trial, job.weights, start=job.start, report=report, stop=stop
        )
