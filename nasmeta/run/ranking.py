"""Which of a run's results is the better one."""

from collections.abc import Iterable

from nasmeta.trial import TrialResult, rank


def ranked(results: Iterable[TrialResult]) -> list[TrialResult]:
    """The results that did not fail, the highest `rank` first; equal ones keep their order."""
    return sorted((r for r in results if r.score is not None), key=rank, reverse=True)


def best_of(results: Iterable[TrialResult]) -> TrialResult | None:
    """The first of `ranked`; None if all failed."""
    return max((r for r in results if r.score is not None), key=rank, default=None)
