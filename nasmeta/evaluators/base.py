"""The contracts of an evaluator and of what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nasmeta.meta_learners.score import Stop
from nasmeta.meta_learners.train import Progress

Report = Callable[[Progress], None]
"""Called with every reading of a trial's metrics."""


@dataclass(frozen=True)
class TrialResult:
    """What one architecture was worth at one budget, judged on the run's fixed meta-validation tasks.

    Accuracies are fractions (None for regression and for failed trials), valid_ci95 the half-width of the
    95% interval over tasks, valid_loss per query, flops of one image's forward pass (2 per multiply-add),
    train_seconds spent in meta-training, seconds in all, both without what a continued trial took before.
    `reason` says why a trial failed.
    """

    trial: int
    arch: str
    iterations: int
    status: Literal["ok", "failed"]
    valid_accuracy: float | None
    valid_ci95: float | None
    valid_loss: float | None
    params: int
    flops: int
    train_seconds: float
    seconds: float
    reason: str | None = None

    @property
    def score(self) -> float | None:
        """What a search maximizes: the accuracy, or minus the loss for regression; None if it failed."""
        if self.status == "failed" or self.valid_loss is None:
            return None
        return -self.valid_loss if self.valid_accuracy is None else self.valid_accuracy

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Evaluator(ABC):
    """Turns (architecture, budget) into a score."""

    @abstractmethod
    def evaluate(
        self,
        arch: str,
        iterations: int,
        trial: int,
        weights: Path,
        *,
        start: Path | None = None,
        report: Report,
        stop: Stop,
    ) -> TrialResult:
        """Judges an architecture, given as its canonical string, after `iterations` of meta-training.

        Idempotent: the same arguments give the same result on the same machine, however often it was
        interrupted. `weights` is where its progress is kept, from which a call that finds it goes on,
        and where the meta-learned weights are when it returns. `start` is the weights file of another trial.
        An evaluator that trains starts from there: from one of the same architecture it goes on, bit by bit
        as if it had never stopped; from one of another it takes the weights over (SearchSpace.morph) and
        begins at iteration 0. Others ignore it. Raises Interrupted, progress saved, once
        `stop()` is true; a network that cannot be trained is a failed result, not an exception.
        """
