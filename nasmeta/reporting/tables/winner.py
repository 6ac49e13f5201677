"""Says which setting of a sweep tested best, and whether that may be chance."""

from collections.abc import Sequence
from typing import Any

from nasmeta.reporting.figures.curves import Level
from nasmeta.reporting.numbers import counted, error, percent, shorten
from nasmeta.reporting.read.outcome import final_score, incomparable, is_accuracy, mean_text

LABEL_WIDTH = 100


def sweep_verdict(levels: Sequence[Level], numbers: Sequence[dict[str, Any]]) -> str:
    """One or two sentences about the tested settings; "" if fewer than two are tested.

    levels: the rows of the sweep's figure. numbers: the outcomes of all jobs.
    """
    tested = [each for each in numbers if final_score(each) is not None]
    kinds = {is_accuracy(each) for each in tested}
    if len(levels) < 2:
        return ""
    if differ := incomparable(tested) + ["what is measured"] * (len(kinds) > 1):
        return (
            f"The jobs differ in {', '.join(differ)}, so their scores do not compare and there is no winner."
        )
    accuracy = kinds == {True}
    first, second, *_ = sorted(levels, key=lambda level: level.mean.mean, reverse=accuracy)
    if first.mean.mean == second.mean.mean:
        best = [shorten(each.label, LABEL_WIDTH) for each in levels if each.mean.mean == first.mean.mean]
        return f"There is no single winner: {', '.join(best)} tested best, all at {_text(first, accuracy)}."
    lead = f"The winner is {_told(first, accuracy)}; the next is {_told(second, accuracy)}."
    if abs(first.mean.mean - second.mean.mean) <= first.half_width + second.half_width:
        return f"{lead} Their 95% intervals overlap: the order may be chance."
    return lead


def _told(level: Level, accuracy: bool) -> str:
    return f"{shorten(level.label, LABEL_WIDTH)} with {_text(level, accuracy)}"


def _text(level: Level, accuracy: bool) -> str:
    write = percent if accuracy else error
    what = "test accuracy" if accuracy else "test MSE"
    if len(level.scores) == 1:
        return f"{what} {write(level.scores[0], level.ci95[0] or None)}"
    seeds = counted(level.mean.n, "seed")
    return f"{what} {mean_text(level.mean, accuracy)} (mean of {seeds} ± standard error)"
