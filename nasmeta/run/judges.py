"""The evaluators that judge a run's trials, in the run's own process or in a worker."""

from nasmeta.config.schema import Config
from nasmeta.errors import DataError
from nasmeta.evaluators.base import Evaluator, Report
from nasmeta.evaluators.scratch import Scratch
from nasmeta.executors.base import Judge
from nasmeta.run.composition import Composition
from nasmeta.task import Split
from nasmeta.training.best_iterate import KeepBest
from nasmeta.training.score import Stop
from nasmeta.trial import Job, TrialResult

WORKER_SPLITS: tuple[Split, ...] = ("train", "valid")


class Judges:
    """The evaluators of a run: `search` judges its trials, `final` the reference and final candidates.

    Making this object loads the data if any network is trained, so that errors in it come before any trial.
    """

    def __init__(self, composition: Composition) -> None:
        self.problem = composition.problem()
        self.search = composition.evaluator(self.problem)
        if self.search.trains_networks():
            self.problem.load()
        budget = composition.config.keys.budget
        keep = KeepBest(budget.judge_every, budget.patience) if budget.keep == "best" else None
        own = self.search.final == "own"
        self.final: Evaluator = (
            self.search if own else Scratch(max_seconds=None, problem=self.problem, keep=keep)
        )

    def evaluate(self, job: Job, report: Report, stop: Stop) -> TrialResult:
        """Runs a job with the evaluator of its phase. See Evaluator.evaluate for `report` and `stop`."""
        evaluator = self.search if job.phase == "search" else self.final
        return evaluator.evaluate(
            job.arch, job.iterations, job.trial, job.weights, start=job.start, report=report, stop=stop
        )


def rebuild(config: Config, data: dict[Split, str]) -> Judge:
    """Makes in another process what runs the jobs of a run with this configuration, and with its `trust`.

    `data` holds the fingerprints of the run's data by split. Raises DataError if this process sees other
    data.
    """
    composition = Composition.of(config)
    judges = Judges(composition)
    for split, fingerprint in data.items():
        found = composition.dataset.contents(split).fingerprint
        if found != fingerprint:
            raise DataError(
                f"dataset: a worker found other {split} data than the run (fingerprint {found}, not "
                f"{fingerprint}); give all of them the same files, and start or resume the run"
            )
    return judges.evaluate


def fingerprints(composition: Composition) -> dict[Split, str]:
    """The fingerprints of the splits that a worker uses, for `rebuild`; empty if no network is trained."""
    return {split: composition.data[split].fingerprint for split in WORKER_SPLITS} if composition.data else {}
