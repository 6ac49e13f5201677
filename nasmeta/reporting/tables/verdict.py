"""Says in plain words whether a search was worth it: the chosen network against the reference."""

from typing import Any

from nasmeta.reporting.numbers import error, measured, shorten, validation_score
from nasmeta.reporting.read.summary_facts import is_reference, is_regression, name_of_best

SMALL = 0.5
"""The share of the reference's parameters up to which an equally accurate network counts as a gain."""

REASON_WIDTH = 300


def verdict(summary: dict[str, Any]) -> str:
    """One sentence that compares `best` and `reference` of a run's summary.

    "Better" or "worse" means that the paired 95% interval of the difference excludes 0. If there is no paired
    interval, it means that the two 95% intervals do not overlap; numbers of a table may have no intervals.
    Otherwise the two are equal, and the searched network is a gain only with at most half the parameters.

    If the chosen network is the reference, nothing is compared on test tasks. The sentence then says how the
    candidates did on meta-validation tasks.
    """
    if is_reference(summary):
        return _reference_chosen(summary)
    best, reference, name = summary["best"], summary["reference"], name_of_best(summary)
    if reference["test_accuracy"] is None and reference["test_loss"] is None:
        return _without_reference(summary)
    if 1 in (best["test_tasks"], reference["test_tasks"]):
        return f"One test task does not tell the {name} network from the reference: raise budget.test_tasks."
    gain, ci95 = gain_of(summary)
    size, amount = _size(best, reference), _amount(summary, gain)
    if abs(gain) > ci95:
        what = "better" if gain > 0 else "worse"
        near = " (on the same tasks; their own 95% intervals overlap)" if _overlap(summary) else ""
        return f"The {name} network is {what} than the reference by {amount}{near}{size}."
    equal = f"as accurate as the reference{_within(summary, ci95)}{size}"
    share = _share(best, reference)
    if (share is not None and share <= SMALL) or name == "trained":
        return f"The {name} network is {equal}."
    return f"The search found nothing better: its network is {equal}."


def _reference_chosen(summary: dict[str, Any]) -> str:
    if not summary["trials"]:
        return "The trained network is the reference itself, so nothing is compared."
    others = [finalist for finalist in summary["finalists"] if not finalist["is_reference"]]
    if not others:
        return "The search found nothing better than the reference: its best trial is the reference itself."
    lead = "The search found nothing that validation prefers to the reference, which is the chosen network"
    ended = [finalist for finalist in others if finalist["failed"] < finalist["networks"]]
    if not ended:
        return (
            f"{lead}: the other finalists failed: {shorten(others[0]['reason'], REASON_WIDTH).rstrip('.')}."
        )
    other = max(ended, key=lambda f: (f["iterations"], -f["failed"], validation_score(f)))
    own = next(finalist for finalist in summary["finalists"] if finalist["is_reference"])
    what = "loss" if is_regression(summary) else "accuracy"
    return f"{lead}: its validation {what} is {_valid_text(own)}, the best candidate's {_valid_text(other)}."


def _valid_text(finalist: dict[str, Any]) -> str:
    return measured(finalist["valid_accuracy"], finalist["valid_loss"])


def gain_of(summary: dict[str, Any]) -> tuple[float, float]:
    """How much better the searched network is, and the half-width of the 95% interval.

    Both are fractions for accuracies, and errors for regression. The summary's `difference` is searched minus
    reference on the same tasks; for regression it is of losses, so less is better and the sign is turned.
    """
    sign = -1.0 if is_regression(summary) else 1.0
    difference = summary.get("difference")
    if difference:
        return sign * difference["mean"], difference["ci95"]
    name = "test_loss" if is_regression(summary) else "test_accuracy"
    best, reference = summary["best"], summary["reference"]
    return sign * (best[name] - reference[name]), _intervals(summary)


def _without_reference(summary: dict[str, Any]) -> str:
    could_not = "be trained" if summary.get("trained", True) else "be judged"
    reason = shorten(summary["reference"].get("reason") or "", REASON_WIDTH).rstrip(".")
    return f"The reference could not {could_not}, so nothing is compared{': ' * bool(reason)}{reason}."


def _share(best: dict[str, Any], reference: dict[str, Any]) -> float | None:
    """Searched parameters over those of the reference; None if either is unknown or the latter are 0."""
    if best["params"] is None or not reference["params"]:
        return None
    return float(best["params"] / reference["params"])


def _size(best: dict[str, Any], reference: dict[str, Any]) -> str:
    share = _share(best, reference)
    if share is None:
        return ""
    if share == 1:
        return ", with as many parameters"
    digits = f"{share:.2f}" if 0.1 <= share < 10 else f"{share:.2g}" if share < 1000 else f"{share:.0f}"
    return f", with {'about as many' if digits == '1.00' else f'{digits} times the'} parameters"


def _within(summary: dict[str, Any], ci95: float) -> str:
    if not ci95:
        return ""
    if summary.get("difference"):
        return " (the 95% interval of their difference includes 0)"
    return " (their 95% intervals overlap)"


def _intervals(summary: dict[str, Any]) -> float:
    return float(summary["best"]["test_ci95"] or 0) + float(summary["reference"]["test_ci95"] or 0)


def _overlap(summary: dict[str, Any]) -> bool:
    unpaired = {**summary, "difference": None}
    return abs(gain_of(unpaired)[0]) <= _intervals(summary)


def _amount(summary: dict[str, Any], gain: float) -> str:
    if is_regression(summary):
        return f"{error(abs(gain))} in MSE"
    points = f"{100 * abs(gain):.1f}"
    return f"{points} points" if points != "0.0" else "less than 0.1 points"
