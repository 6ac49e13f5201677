"""Says which setting of a sweep tested best, and whether that may be chance."""

from collections.abc import Sequence

from nasmeta.reporting.numbers import shorten
from nasmeta.reporting.read.outcome import incomparable
from nasmeta.reporting.read.rows import Setting
from nasmeta.reporting.tables.scores import mean_text

LABEL_WIDTH = 100


def winner(settings: Sequence[Setting]) -> str:
    """One or two sentences about the tested settings; "" if fewer than two are tested."""
    if len(settings) < 2:
        return ""
    tested = [row.numbers for setting in settings for row in setting.rows]
    kinds = {setting.accuracy for setting in settings}
    if differ := incomparable(tested) + ["what is measured"] * (len(kinds) > 1):
        return (
            f"The runs differ in {', '.join(differ)}, so their scores do not compare and there is no winner."
        )
    accuracy = kinds == {True}
    first, second, *_ = sorted(settings, key=lambda setting: setting.test.mean, reverse=accuracy)
    if first.test.mean == second.test.mean:
        best = [shorten(each.label, LABEL_WIDTH) for each in settings if each.test.mean == first.test.mean]
        return f"There is no single winner: {', '.join(best)} tested best, all at {_text(first, accuracy)}."
    lead = f"The winner is {_with_score(first, accuracy)}; the next is {_with_score(second, accuracy)}."
    if abs(first.test.mean - second.test.mean) <= (first.test.ci95 or 0) + (second.test.ci95 or 0):
        return f"{lead} Their 95% intervals overlap: the order may be chance."
    return lead


def _with_score(setting: Setting, accuracy: bool) -> str:
    return f"{shorten(setting.label, LABEL_WIDTH)} with {_text(setting, accuracy)}"


def _text(setting: Setting, accuracy: bool) -> str:
    mean = mean_text(setting.test, accuracy)
    seeds = f" (mean of {setting.test.n} seeds)" if setting.test.n > 1 else ""
    return f"{'test accuracy' if accuracy else 'test MSE'} {mean}{seeds}"
