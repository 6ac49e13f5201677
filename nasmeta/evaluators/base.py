"""The contract of an evaluator."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from nasmeta.trial import Cost, MetaTested, TrialResult

if TYPE_CHECKING:  # code that only reads results needs no torch
    from nasmeta.training.meta_training import Progress
    from nasmeta.training.score import Stop
    from nasmeta.trial import Cost

Report = Callable[["Progress"], None]
"""Called with each reading of a trial's metrics."""


class Evaluator(ABC):
    """Turns (architecture, budget) into a score. The constructor checks what it can and loads no data."""

    final: ClassVar[Literal["scratch", "own"]] = "own"
    """Who judges the final candidates and the reference: this evaluator, or Scratch by training them."""

    leaves_weights: ClassVar[bool] = True
    """Whether `evaluate` leaves meta-learned weights behind. If not, `test` gives the meta-test."""

    continues: ClassVar[bool] = False
    """Whether a trial can resume the finished meta-training of another one (`start`)."""

    costs: tuple[str, ...] = ("params", "flops", "latency")
    """What is known of a network besides its score."""

    common_scale: bool = True
    """Whether a goal can be set: scores are accuracies, other shares from 0 to 1, or minus losses."""

    owns_weights: ClassVar[bool] = False
    """Whether candidates inherit weights that it trains between them; they then run one at a time."""

    simulates: ClassVar[bool] = False
    """Whether results have simulated seconds. `budget.max_seconds` then counts those, not the clock."""

    @classmethod
    def trains_networks(cls) -> bool:
        """Whether a run with this evaluator meta-trains any network, so needs data and has a best.pt."""
        return cls.final == "scratch" or cls.leaves_weights

    def budget_error(self, iterations: int) -> str | None:
        """Why candidates cannot be judged at a budget of `iterations` meta-iterations; None if they can."""
        return None

    @abstractmethod
    def cost(self, arch: Any) -> "Cost | None":
        """Parameters and FLOPs of an architecture, as results have them; None if they are not known.

        Raises ArchitectureError if it cannot be built for the run's tasks.
        """

    def test(self, arch: str, iterations: int) -> MetaTested:
        """The meta-test of an architecture, for an evaluator that leaves no weights."""
        raise NotImplementedError(f"{type(self).__name__} leaves weights: they are meta-tested")

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
        stop: "Stop",
    ) -> TrialResult:
        """Judges an architecture, given as its canonical string, after `iterations` of meta-training.

        Idempotent: the same arguments give the same result on the same machine, however often it was
        interrupted. weights: the file that keeps its progress, from which a later call resumes. On return it
        holds the meta-learned weights, if the evaluator leaves any.

        start: the weights file of another trial. An evaluator that trains starts from it; others ignore it.
        If that trial has the same architecture, training resumes bit by bit as if it had never stopped.
        Otherwise its weights are taken over (SearchSpace.morph) and training begins at iteration 0.

        Raises Interrupted, with progress saved, once `stop()` is true. A network that cannot be judged is a
        failed result, not an exception.
        """
