"""Whether a search was worth it: the searched network against the reference, said plainly."""

from typing import Any

from nasmeta.reporting.numbers import error

SMALL = 0.5
"""The share of the reference's parameters up to which an equally accurate network counts as a gain."""


def verdict(summary: dict[str, Any]) -> str:
    """One sentence about `best` and `reference` of a run's summary.

    Better or worse means that the paired 95% interval of the difference excludes 0, or, where there is
    none, that the two 95% intervals do not overlap; numbers of a table may have no intervals. Equal means
    neither, and then the searched network is a gain only with at most half the parameters.
    """
    best, reference = summary["best"], summary["reference"]
    if reference["test_accuracy"] is None and reference["test_loss"] is None:
        could_not = "be trained" if summary.get("trained", True) else "be judged"
        return f"The reference could not {could_not}, so nothing is compared: {reference['reason']}."
    gain, ci95 = gain_of(summary)
    share = _share(best, reference)
    size = f", with {share:.2f} times the parameters" if share is not None else ""
    amount = _amount(summary, gain)
    if gain > ci95:
        return f"The searched network is better than the reference by {amount}{size}."
    if gain < -ci95:
        near = " although their 95% intervals overlap" if _overlap(summary) else ""
        return f"The searched network is worse than the reference by {amount}{near}{size}."
    why = " (the 95% intervals overlap)" if ci95 else ""
    equal = f"as {_good(summary)} as the reference{why}{size}"
    if share is not None and share <= SMALL:
        return f"The searched network is {equal}."
    return f"The search found nothing better: its network is {equal}."


def gain_of(summary: dict[str, Any]) -> tuple[float, float]:
    """How much better the searched network is, as a fraction or an error, and the interval's half-width.

    `difference` is searched minus reference on the same tasks: of accuracies, or of losses for regression,
    where less is better.
    """
    sign = -1.0 if is_regression(summary) else 1.0
    difference = summary.get("difference")
    if difference:
        return sign * difference["mean"], difference["ci95"]
    name = "test_loss" if is_regression(summary) else "test_accuracy"
    best, reference = summary["best"], summary["reference"]
    return sign * (best[name] - reference[name]), _intervals(summary)


def is_regression(summary: dict[str, Any]) -> bool:
    """Whether losses, not accuracies, are compared."""
    return bool(summary.get("kind") == "regression" or summary["best"].get("test_accuracy") is None)


def _share(best: dict[str, Any], reference: dict[str, Any]) -> float | None:
    """Searched parameters as a share of the reference's; None where they are not known."""
    if best["params"] is None or reference["params"] is None:
        return None
    return float(best["params"] / max(reference["params"], 1))


def _intervals(summary: dict[str, Any]) -> float:
    return float(summary["best"]["test_ci95"] or 0) + float(summary["reference"]["test_ci95"] or 0)


def _overlap(summary: dict[str, Any]) -> bool:
    unpaired = {**summary, "difference": None}
    return abs(gain_of(unpaired)[0]) <= _intervals(summary)


def _amount(summary: dict[str, Any], gain: float) -> str:
    return error(abs(gain)) if is_regression(summary) else f"{100 * abs(gain):.1f} points"


def _good(summary: dict[str, Any]) -> str:
    return "precise" if is_regression(summary) else "accurate"
