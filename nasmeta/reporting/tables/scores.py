"""Scores, their means and their differences as the texts of a table's cells.

The `numbers` are those of nasmeta.reporting.read.outcome.
"""

from typing import Any

from nasmeta.reporting.numbers import error, interval, measured, percent
from nasmeta.reporting.read.statistics import Mean


def final_text(numbers: dict[str, Any], prefix: str = "") -> str:
    """The test score with its interval, like 93.4 ± 0.4 %, or a loss; a dash if nothing was tested."""
    accuracy, loss, ci95, tasks = (
        numbers[f"{prefix}{name}"] for name in ("test_accuracy", "test_loss", "test_ci95", "test_tasks")
    )
    return measured(accuracy, loss, interval(ci95, tasks))


def validated(numbers: dict[str, Any]) -> str:
    """The validation score with its interval, or the bare number of a proxy."""
    return measured(*(numbers[name] for name in ("valid_accuracy", "valid_loss", "valid_ci95", "proxy")))


def mean_text(mean: Mean | None, accuracy: bool) -> str:
    """A mean with its interval, written as an accuracy or a loss; a dash if there is no mean."""
    if mean is None:
        return "-"
    return (percent if accuracy else error)(mean.mean, mean.ci95)


def mean_difference_text(mean: Mean | None, accuracy: bool) -> str:
    """`difference_text` of a mean and its interval; a dash if there is none."""
    return "-" if mean is None else difference_text(mean.mean, mean.ci95, accuracy)


def difference_text(difference: float | None, half_width: float | None, accuracy: bool) -> str:
    """A signed difference, like +1.9 ± 0.5; in percentage points for accuracies, a dash if it is unknown."""
    if difference is None:
        return "-"
    if not accuracy:
        return f"{'+' if difference > 0 else ''}{error(difference, half_width)}"
    half = "" if half_width is None else f" ± {100 * half_width:.1f}"
    return f"{100 * difference:+.1f}{half}".replace("-0.0", "+0.0", 1)
