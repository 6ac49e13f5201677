"""Ranks the trials of a run for a report: the best so far, the Pareto front, and the failures."""

from collections.abc import Callable, Sequence
from typing import Literal

from nasmeta.run.ranking import best_of
from nasmeta.strategies.pareto import front
from nasmeta.trial import TrialResult

Measure = Literal["accuracy", "loss", "proxy"]
CostOf = Callable[[TrialResult], float | None]


def measure_of(results: Sequence[TrialResult]) -> Measure | None:
    """What the results are shown by; None if all failed."""
    first = next((r for r in results if r.score is not None), None)
    if first is None:
        return None
    if first.proxy is not None:
        return "proxy"
    return "loss" if first.valid_accuracy is None else "accuracy"


def value_of(result: TrialResult, measure: Measure) -> float | None:
    """The result's accuracy (a fraction), loss or proxy; None if it failed or has no such value."""
    if result.status == "failed":
        return None
    values = {"accuracy": result.valid_accuracy, "loss": result.valid_loss, "proxy": result.proxy}
    return values[measure]


def best_so_far(results: Sequence[TrialResult]) -> list[TrialResult | None]:
    """The best result so far after each result. The first of equals stays; None while all have failed."""
    best: TrialResult | None = None
    history = []
    for result in results:
        best = best_of([result] if best is None else [best, result])
        history.append(best)
    return history


def longest_trained(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The results that did not fail and have the largest budget: scores at other budgets do not compare."""
    good = [r for r in results if r.score is not None]
    budget = max((r.iterations for r in good), default=0)
    return [r for r in good if r.iterations == budget]


def front_of(results: Sequence[TrialResult], cost: CostOf) -> list[TrialResult]:
    """The Pareto front of score and one cost among the longest trained results, in ascending cost.

    Of equals, the earliest trial is on the front; see nasmeta.strategies.pareto.
    """
    longest = sorted(longest_trained(results), key=lambda r: r.trial)
    known = [(x, r) for r in longest if (x := cost(r)) is not None]
    kept = front([(x, -_score(r)) for x, r in known])
    return [r for _, r in sorted((known[i] for i in kept), key=lambda pair: pair[0])]


def failures(results: Sequence[TrialResult]) -> list[tuple[str, list[int]]]:
    """(reason, numbers of the trials that failed for it), the most frequent reason first."""
    groups: dict[str, list[int]] = {}
    for result in results:
        if result.status == "failed":
            groups.setdefault(result.reason or "unknown reason", []).append(result.trial)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _score(result: TrialResult) -> float:
    assert result.score is not None
    return result.score
