"""Settings compared over the same test tasks, seed by seed."""

from collections.abc import Sequence
from math import isnan

import numpy as np
from numpy.typing import NDArray

from nasmeta.reporting.numbers import probability, shorten
from nasmeta.reporting.read.outcome import incomparable
from nasmeta.reporting.read.rows import Row, Setting
from nasmeta.reporting.read.statistics import Difference
from nasmeta.reporting.tables.scores import difference_text
from nasmeta.run.directory import RunDirectory
from nasmeta.run.per_task import PerTask

LABEL_WIDTH = 60
MOST = 20
"""The most settings that are compared with the best one."""

DRAWN_BY = ("seed", "task.query", "budget.test_tasks")
"""Settings by which test tasks are drawn, besides those without which scores do not compare at all."""


def paired_rows(settings: Sequence[Setting]) -> list[list[str]]:
    """The setting with the best mean against each other one; a row for those with tasks in common.

    The cells: both labels, the number of seeds, then the mean difference with its 95% interval and two-sided
    p, over the seeds and over all tasks.
    """
    if len(settings) < 2 or len({setting.accuracy for setting in settings}) > 1:
        return []
    accuracy = settings[0].accuracy
    best, *others = sorted(settings, key=lambda setting: setting.test.mean, reverse=accuracy)
    rows = []
    for other in others[:MOST]:
        pairs = [pair for one in best.rows for two in other.rows if (pair := _tasks(one, two)) is not None]
        if pairs:
            found = Difference.of([one for one, _ in pairs], [two for _, two in pairs])
            labels = [shorten(setting.label, LABEL_WIDTH) for setting in (best, other)]
            rows.append([*labels, str(len(pairs)), *_cells(found, accuracy)])
    return rows


def _tasks(one: Row, two: Row) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The scores of two runs on each test task; None unless they have the same tasks and stored them."""
    drawn = [[row.run.settings.get(key) for key in DRAWN_BY] for row in (one, two)]
    if drawn[0] != drawn[1] or incomparable([one.numbers, two.numbers]):
        return None
    first, second = (PerTask.load(RunDirectory(row.run.path).per_task) for row in (one, two))
    if first is None or second is None or len(first.best) != len(second.best) or len(first.best) < 2:
        return None
    return first.best, second.best


def _cells(found: Difference, accuracy: bool) -> list[str]:
    over_seeds = None if isnan(found.over_seeds) else found.over_seeds
    return [
        difference_text(found.mean, over_seeds, accuracy),
        probability(found.p_seeds),
        difference_text(found.mean, found.over_tasks, accuracy),
        probability(found.p_tasks),
    ]
