"""A trial: what strategies, executors, evaluators and runs tell each other about one architecture."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

Phase = Literal["search", "tuning", "final", "reference"]
"""Why an architecture is trained.

As a candidate; as the reference with settings that are tried; in the finals as one of the best; or in the
finals as the reference.
"""


Criterion = Literal["accuracy", "loss", "training_speed"]
"""What candidates are compared by.

The accuracy on the meta-validation tasks; the loss there, which also sees how sure a network is of its
errors; or the loss on the latest meta-training tasks, which is lower the faster a network learns.
"""


@dataclass(frozen=True)
class Cost:
    """What a network costs; networks/cost.py and networks/memory.py say how it is counted.

    params: the size of all parameters together. flops: of one example's forward pass, 2 per multiply-add.
    memory: bytes of one example's activations at their peak. flash: bytes of the parameters. A table knows
    only the first two.
    """

    params: int
    flops: int
    memory: int | None = None
    flash: int | None = None


COUNTED = tuple(field.name for field in fields(Cost))
"""The names of the costs that are counted. Results have fields of the same names."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a network may cost, in the units of Cost; None is no limit.

    bits: the width of a number in a deployed network, for memory and flash.
    """

    params: float | None = None
    flops: float | None = None
    memory: float | None = None
    flash: float | None = None
    bits: Literal[8, 32] = 32

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return any(getattr(self, name) is not None for name in COUNTED)

    def allow(self, cost: Cost) -> bool:
        """Whether `cost` is within all limits."""
        limits = ((getattr(cost, name), getattr(self, name)) for name in COUNTED)
        return all(limit is None or value <= limit for value, limit in limits)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The architecture to evaluate in trial `trial`, at a budget of `iterations` meta-iterations.

    continues: the finished trial of the same architecture whose meta-training is resumed; `iterations`
    includes those it already had. inherits: the finished trial, possibly of another architecture, from whose
    weights a new meta-training starts.
    """

    trial: int
    arch: Any
    iterations: int
    continues: int | None = None
    inherits: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a strategy is told of a trial. `score` is to be maximized; None means that the trial failed.

    costs: by objective, latency in milliseconds; None if the evaluator does not know them (a table without
    such columns), or if no objective needs the latency. seconds: what this trial took, without the trial that
    it continues (simulated if the evaluator reads a table).
    """

    trial: int
    arch: Any
    score: float | None
    iterations: int
    costs: Mapping[str, float | None]
    seconds: float = 0.0


def rank(result: "Outcome | TrialResult") -> tuple[int, float]:
    """The key that ranks results that did not fail: longest trained first, then by score.

    Scores at different budgets do not compare.
    """
    assert result.score is not None
    return result.iterations, result.score


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial to run: an architecture's canonical string and a budget in meta-iterations.

    weights: the file that keeps its progress, from which it is resumed. In the end it holds the meta-learned
    weights, if the evaluator leaves any.

    start: the weights file of another trial. An evaluator that trains starts from it; others ignore it. If
    that trial has the same architecture, training resumes bit by bit as if it had never stopped. Otherwise
    its weights are taken over (SearchSpace.morph) and training begins at iteration 0.

    network: 0, or the number of a further network of the same architecture, which has a seed of its own.
    """

    phase: Phase
    trial: int
    arch: str
    iterations: int
    weights: Path
    start: Path | None = None
    network: int = 0


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The worth of one architecture at one budget, on the run's fixed meta-validation tasks.

    valid_accuracy: a fraction; None for regression and for failed trials. valid_ci95: half-width of the 95%
    interval over tasks. valid_loss: per query. train_loss: the mean over the latest training tasks, see
    MetaTraining.late_loss. criterion: which of these is the score.

    params, flops, memory, flash: see Cost. train_seconds: spent in meta-training. seconds: in all. Neither
    includes what a continued trial took before.

    reason: why a trial failed. proxy: the score of an evaluator that trains nothing, instead of an accuracy:
    any finite number; more is better. weights_version: if candidates inherit weights that the evaluator owns,
    the meta-iterations that these had had. kept_iteration: the meta-iteration whose weights are left, if it
    was chosen among several. ended_iteration: the last one of that training, which comes before `iterations`
    if it ended early. latency_ms: of one example, if that is limited or an objective. Numbers that an
    evaluator does not know are None.
    """

    trial: int
    arch: str
    iterations: int
    status: Literal["ok", "failed"]
    valid_accuracy: float | None = None
    valid_ci95: float | None = None
    valid_loss: float | None = None
    train_loss: float | None = None
    criterion: Criterion = "accuracy"
    params: int | None
    flops: int | None
    memory: int | None = None
    flash: int | None = None
    train_seconds: float
    seconds: float
    reason: str | None = None
    proxy: float | None = None
    weights_version: int | None = None
    kept_iteration: int | None = None
    ended_iteration: int | None = None
    latency_ms: float | None = None

    @property
    def costs(self) -> dict[str, float | None]:
        """What the network costs, by objective."""
        return {name: getattr(self, name) for name in COUNTED} | {"latency": self.latency_ms}

    @property
    def score(self) -> float | None:
        """What a search maximizes: the proxy, or what `criterion` says; None if it failed.

        Without an accuracy it is minus the loss.
        """
        if self.status == "failed":
            return None
        if self.proxy is not None:
            return self.proxy
        if self.criterion == "accuracy" and self.valid_accuracy is not None:
            return self.valid_accuracy
        loss = self.train_loss if self.criterion == "training_speed" else self.valid_loss
        return None if loss is None else -loss


@dataclass(frozen=True)
class MetaTested:
    """The meta-test of an architecture: its accuracy as a fraction, and half of its 95% interval."""

    accuracy: float
    ci95: float | None
