"""A trial: what strategies, executors, evaluators and a run say to each other about one architecture."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Phase = Literal["search", "final", "reference"]
"""Why an architecture is trained: as a candidate, in full as one of the best, or in full as the reference."""


@dataclass(frozen=True)
class Cost:
    """params: numbers in all parameters; flops: operations of one example's forward pass."""

    params: int
    flops: int


@dataclass(frozen=True)
class Proposal:
    """The architecture to look at in trial `trial`, at a budget of `iterations` meta-iterations.

    continues: the finished trial of the same architecture whose meta-training goes on here; `iterations`
    counts those that it already had. inherits: the finished trial, of another architecture perhaps, from
    whose weights a new meta-training starts.
    """

    trial: int
    arch: Any
    iterations: int
    continues: int | None = None
    inherits: int | None = None


@dataclass(frozen=True)
class Told:
    """What a strategy is told of a trial: `score` is to be maximized; None says that it failed.

    Costs are None where the evaluator does not know them (a table without such columns). latency_ms: of one
    example, None where no objective asks for it; seconds: what this trial took, without the trial that it
    continues (simulated where a table says so).
    """

    trial: int
    arch: Any
    score: float | None
    iterations: int
    params: int | None
    flops: int | None
    latency_ms: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """One trial to run: an architecture's canonical string at a budget of meta-iterations.

    weights: the file of this trial alone; start: that of another one. See Evaluator.evaluate for both.
    """

    phase: Phase
    trial: int
    arch: str
    iterations: int
    weights: Path
    start: Path | None


@dataclass(frozen=True)
class TrialResult:
    """What one architecture was worth at one budget, judged on the run's fixed meta-validation tasks.

    Accuracies are fractions (None for regression and for failed trials), valid_ci95 the half-width of the
    95% interval over tasks, valid_loss per query, flops of one image's forward pass (2 per multiply-add),
    train_seconds spent in meta-training, seconds in all, both without what a continued trial took before.
    `proxy` is what an evaluator that trains nothing puts in the place of an accuracy: any finite number, of
    which more is better. `weights_version` is, where the evaluator owns weights that candidates inherit, the
    meta-iterations that those had had. Numbers that an evaluator does not know are None. `reason` says why a
    trial failed.
    """

    trial: int
    arch: str
    iterations: int
    status: Literal["ok", "failed"]
    valid_accuracy: float | None
    valid_ci95: float | None
    valid_loss: float | None
    params: int | None
    flops: int | None
    train_seconds: float
    seconds: float
    reason: str | None = None
    proxy: float | None = None
    weights_version: int | None = None

    @classmethod
    def failed(
        cls,
        trial: int,
        arch: str,
        iterations: int,
        reason: str,
        cost: Cost,
        *,
        train_seconds: float,
        seconds: float,
    ) -> "TrialResult":
        """One that could not be judged; `cost` is what was known by then."""
        costs = cost.params, cost.flops
        return cls(
            trial, arch, iterations, "failed", None, None, None, *costs, train_seconds, seconds, reason
        )

    @property
    def score(self) -> float | None:
        """What a search maximizes: the proxy, the accuracy, or minus the loss; None if it failed."""
        if self.status == "failed":
            return None
        minus_loss = None if self.valid_loss is None else -self.valid_loss
        return next((v for v in (self.proxy, self.valid_accuracy, minus_loss) if v is not None), None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class MetaTested:
    """What is known of an architecture's meta-test: the accuracy, a fraction, and its 95% half-width."""

    accuracy: float
    ci95: float | None
