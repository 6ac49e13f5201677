"""Which of a run's results is the better one."""

from collections.abc import Iterable

from nasmeta.trial import TrialResult


def rank(result: TrialResult) -> tuple[int, float]:
    """Scores at different budgets do not compare: what was trained longest comes first, then the score."""
    assert result.score is not None
    return result.iterations, result.score


def ranked(results: Iterable[TrialResult]) -> list[TrialResult]:
    """Those that did not fail, the highest in `rank` first; equals in the order in which they come."""
    return sorted((r for r in results if r.score is not None), key=rank, reverse=True)


def best_of(results: Iterable[TrialResult]) -> TrialResult | None:
    """The first of `ranked`; None where all failed."""
    return max((r for r in results if r.score is not None), key=rank, default=None)
