"""Compares two networks that were tested on the same tasks, with several seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy import stats

from nasmeta import seeding

Tasks = Sequence[np.ndarray]
"""For each seed, the accuracies of a network on its test tasks, as fractions."""

RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """One network minus another, in points of accuracy. NaN stands for what one seed alone cannot say.

    over_seeds: half-width of the 95% interval by Student's t over the seeds. over_tasks: the same by the
    normal distribution over all tasks. p_seeds, p_tasks: two-sided.
    """

    mean: float
    over_seeds: float
    p_seeds: float
    over_tasks: float
    p_tasks: float

    @classmethod
    def of(cls, one: Tasks, other: Tasks) -> "Difference":
        points = [100 * (a - b) for a, b in zip(one, other, strict=True)]
        errors = [each.std(ddof=1) / math.sqrt(len(each)) for each in points]
        return cls.of_seeds([float(each.mean()) for each in points], errors)

    @classmethod
    def of_seeds(cls, means: Sequence[float], errors: Sequence[float]) -> "Difference":
        """From the mean difference of each seed, and its standard error over the tasks."""
        number, mean = len(means), float(np.mean(means))
        over_seeds = p_seeds = math.nan
        if number > 1:
            error = float(np.std(means, ddof=1)) / math.sqrt(number)
            over_seeds = float(stats.t.ppf(0.975, number - 1)) * error
            p_seeds = 2 * float(stats.t.sf(_divided(abs(mean), error), number - 1))
        error = math.sqrt(sum(each**2 for each in errors)) / number
        p_tasks = 2 * (1 - NormalDist().cdf(_divided(abs(mean), error)))
        return cls(mean, over_seeds, p_seeds, 1.96 * error, p_tasks)


def error_ratio(one: Tasks, other: Tasks) -> tuple[float, float, float]:
    """One network's mean error divided by the other's, with its 95% bootstrap interval over tasks."""
    rng = seeding.stream(0, "bootstrap")

    def ratio(draw: bool) -> float:
        errors = [0.0, 0.0]
        for pair in zip(one, other, strict=True):
            count = len(pair[0])
            chosen = rng.integers(count, size=count) if draw else slice(None)
            for side in (0, 1):
                errors[side] += 1 - float(pair[side][chosen].mean())
        return _divided(*errors)

    low, high = np.quantile([ratio(draw=True) for _ in range(RESAMPLES)], (0.025, 0.975))
    return ratio(draw=False), float(low), float(high)


def _divided(value: float, by: float) -> float:
    """A test's statistic, or a ratio: infinite if only `by` is 0, and 0 if both are."""
    return value / by if by > 0 else math.inf if value > 0 else 0.0
