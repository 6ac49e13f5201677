"""The contract of an evaluator."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from nasmeta.errors import Diverged
from nasmeta.evaluators.failures import FAILURES, failure
from nasmeta.networks.cost import measure_cost
from nasmeta.training.meta_training import Reading
from nasmeta.training.problem import Problem
from nasmeta.training.score import Score, Stop
from nasmeta.trial import COUNTED, Cost, Criterion, Job, MetaTested, TrialResult

Report = Callable[[Reading], None]
"""Called with each reading of a trial's metrics."""


@dataclass(frozen=True)
class Candidate:
    """What an evaluator judges: the architecture `arch` of a job, in problem.space.

    problem: with the learner and the optimizer of this architecture.
    """

    problem: Problem
    arch: Any
    job: Job


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an evaluator found: fields of TrialResult. None is what it does not know.

    earlier_seconds: of training, before this call was resumed; no field of the result.
    """

    valid_accuracy: float | None = None
    valid_ci95: float | None = None
    valid_loss: float | None = None
    train_loss: float | None = None
    proxy: float | None = None
    train_seconds: float = 0.0
    weights_version: int | None = None
    kept_iteration: int | None = None
    ended_iteration: int | None = None
    earlier_seconds: float = 0.0

    @classmethod
    def of(
        cls,
        score: Score,
        *,
        train_seconds: float,
        train_loss: float | None,
        kept_iteration: int | None = None,
        ended_iteration: int | None = None,
        earlier_seconds: float = 0.0,
    ) -> "Judgement":
        """The judgement that a score on the meta-validation tasks is.

        Raises Diverged if the loss is not finite: a network whose loss is NaN on some task has not learned,
        whatever its accuracy.
        """
        if not math.isfinite(score.loss):
            raise Diverged(f"the meta-validation loss is {score.loss}")
        return cls(
            valid_accuracy=score.accuracy,
            valid_ci95=score.ci95,
            valid_loss=score.loss,
            train_loss=train_loss,
            train_seconds=train_seconds,
            kept_iteration=kept_iteration,
            ended_iteration=ended_iteration,
            earlier_seconds=earlier_seconds,
        )


class Evaluator(ABC):
    """Turns (architecture, budget) into a score. The constructor checks what it can and loads no data."""

    problem: Problem
    """The run's tasks and search space; the constructor sets it."""

    finals_from_scratch: ClassVar[bool] = False
    """Whether `Scratch` trains the final candidates and the reference; if not, this evaluator judges them."""

    leaves_weights: ClassVar[bool] = True
    """Whether `evaluate` leaves meta-learned weights behind. If not, `test` gives the meta-test."""

    continues: ClassVar[bool] = False
    """Whether a trial can resume the finished meta-training of another one (`start`)."""

    costs: tuple[str, ...] = (*COUNTED, "latency")
    """What is known of a network besides its score."""

    criterion: Criterion = "accuracy"
    """What its results are compared by."""

    fingerprint: str | None = None
    """Equal for equal contents of the files that it looks results up in; None if it reads none."""

    common_scale: bool = True
    """Whether a goal can be set: scores are accuracies, other shares from 0 to 1, or minus losses."""

    owns_weights: ClassVar[bool] = False
    """Whether candidates inherit weights that it trains between them; they then run one at a time."""

    simulated_time: ClassVar[bool] = False
    """Whether `train_seconds` are simulated. `budget.max_seconds` then counts those, not the clock."""

    @classmethod
    def trains_networks(cls) -> bool:
        """Whether a run with this evaluator meta-trains any network, so needs data and has a best.pt."""
        return cls.finals_from_scratch or cls.leaves_weights

    def budget_error(self, iterations: int) -> str | None:
        """Why candidates cannot be judged at a budget of `iterations` meta-iterations; None if they can."""
        return None

    def cost(self, arch: Any) -> Cost | None:
        """The cost of an architecture, as results have it; None if it is not known.

        Raises ArchitectureError if it cannot be built for the run's tasks.
        """
        return measure_cost(self.problem.space, arch, self.problem.task, self.problem.bits)

    def test(self, arch: str, iterations: int) -> MetaTested:
        """The meta-test of an architecture, for an evaluator that leaves no weights."""
        raise NotImplementedError(f"{type(self).__name__} leaves weights: they are meta-tested")

    def evaluate(self, job: Job, report: Report, stop: Stop) -> TrialResult:
        """Judges the architecture of a job after its meta-training.

        Idempotent: the same job gives the same result on the same machine, however often it was interrupted.
        Raises Interrupted, with progress saved, once `stop()` is true. A network that cannot be judged is a
        failed result, not an exception.
        """
        began = time.monotonic()
        result = partial(TrialResult, trial=job.trial, arch=job.arch, iterations=job.iterations)
        arch = self.problem.space.parse(job.arch)
        cost: Cost | None = None
        try:
            cost = self.cost(arch)
            found = self._judge(Candidate(self.problem.for_arch(arch), arch, job), report, stop)
        except FAILURES as error:
            seconds = 0.0 if self.simulated_time else time.monotonic() - began
            cost = cost if cost or self.simulated_time else Cost(0, 0)
            return result(
                status="failed",
                reason=failure(error),
                **_fields(cost),
                train_seconds=seconds if self.leaves_weights else 0.0,
                seconds=seconds,
            )
        fields = dict(vars(found))
        seconds = time.monotonic() - began + fields.pop("earlier_seconds")
        return result(
            status="ok",
            criterion=self.criterion,
            seconds=found.train_seconds if self.simulated_time else seconds,
            **_fields(cost),
            **fields,
        )

    @abstractmethod
    def _judge(self, candidate: Candidate, report: Report, stop: Stop) -> Judgement:
        """The worth of a candidate whose cost could be counted. Raises one of FAILURES if it has none.

        `report` and `stop` are those of `evaluate`.
        """


def _fields(cost: Cost | None) -> dict[str, Any]:
    """The fields of a result that say what the network costs."""
    return dict.fromkeys(COUNTED) if cost is None else vars(cost)
