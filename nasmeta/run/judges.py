"""Who judges a run's trials, in the run's own process or in a worker."""

from nasmeta.config.schema import Config
from nasmeta.errors import DataError
from nasmeta.evaluators.base import Evaluator, Report
from nasmeta.evaluators.scratch import Scratch
from nasmeta.executors.base import Judge
from nasmeta.run.composition import Composition
from nasmeta.task import Split
from nasmeta.training.score import Stop
from nasmeta.trial import Job, TrialResult

WORKER_SPLITS: tuple[Split, ...] = ("train", "valid")


class Judges:
    """`search` judges the search's trials, `final` the reference and the final candidates.

    Making one loads the data, where any network is trained: what is wrong with it is said before any trial.
    """

    def __init__(self, composition: Composition) -> None:
        self.problem = composition.problem()
        self.search = composition.evaluator(self.problem)
        if self.search.trains_networks():
            self.problem.load()
        own = self.search.final == "own"
        self.final: Evaluator = self.search if own else Scratch(max_seconds=None, problem=self.problem)

    def evaluate(self, job: Job, report: Report, stop: Stop) -> TrialResult:
        """See Evaluator.evaluate."""
        evaluator = self.search if job.phase == "search" else self.final
        return evaluator.evaluate(
            job.arch, job.iterations, job.trial, job.weights, start=job.start, report=report, stop=stop
        )


def rebuild(config: Config, data: dict[Split, str]) -> Judge:
    """What runs the jobs of a configuration's run, in another process; whose it is goes along (Trust).

    Raises DataError if the process sees other data than the run, whose fingerprints `data` holds by split.
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
    """Of the splits that a worker sees, for `rebuild`."""
    return {split: composition.data[split].fingerprint for split in WORKER_SPLITS} if composition.data else {}
