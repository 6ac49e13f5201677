"""The contracts of an evaluator and of what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from nasmeta.trial import Cost, MetaTested, TrialResult

if TYPE_CHECKING:  # whoever only reads results needs no torch
    from nasmeta.training.meta_training import Progress
    from nasmeta.training.score import Stop
    from nasmeta.trial import Cost

Report = Callable[["Progress"], None]
"""Called with every reading of a trial's metrics."""


class Evaluator(ABC):
    """Turns (architecture, budget) into a score. Constructing one checks what it can and loads no data."""

    final: ClassVar[Literal["scratch", "own"]] = "own"
    """Who judges the final candidates and the reference: this evaluator, or Scratch by real training."""

    leaves_weights: ClassVar[bool] = True
    """Whether `evaluate` leaves meta-learned weights behind. Where it does not, `test` has the last word."""

    continues: ClassVar[bool] = False
    """Whether a trial goes on from where the meta-training of another one (`start`) has ended."""

    costs: tuple[str, ...] = ("params", "flops", "latency")
    """What is known of a network beside its score."""

    common_scale: bool = True
    """Whether scores are accuracies, other shares from 0 to 1, or minus losses: what a goal can be set in."""

    owns_weights: ClassVar[bool] = False
    """Whether candidates inherit weights that this evaluator trains as it goes: one after the other, then."""

    simulates: ClassVar[bool] = False
    """Whether a result's seconds are not this run's: `budget.max_seconds` then counts them, not the clock."""

    @classmethod
    def trains_networks(cls) -> bool:
        """Whether a run with this evaluator meta-trains any network, and so needs data and has a best.pt."""
        return cls.final == "scratch" or cls.leaves_weights

    def budget_error(self, iterations: int) -> str | None:
        """Why candidates cannot be judged at a budget of so many meta-iterations; None if they can."""
        return None

    @abstractmethod
    def cost(self, arch: Any) -> "Cost | None":
        """Parameters and FLOPs of an architecture, as results have them; None where they are not known.

        Raises ArchitectureError where it cannot be built for the run's tasks.
        """

    def test(self, arch: str, iterations: int) -> MetaTested:
        """The meta-test of an architecture that `evaluate` could judge, where it leaves no weights."""
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
        interrupted. `weights` is where its progress is kept, from which a call that finds it goes on,
        and where the meta-learned weights are when it returns (if it leaves any). `start` is the weights
        file of another trial. An evaluator that trains starts from there: from one of the same architecture
        it goes on, bit by bit as if it had never stopped; from one of another it takes the weights over
        (SearchSpace.morph) and begins at iteration 0. Others ignore it. Raises Interrupted, progress saved,
        once `stop()` is true; a network that cannot be judged is a failed result, not an exception.
        """
