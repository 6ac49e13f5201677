"""Means over seeds, and differences over the same tasks, with 95% intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt
from statistics import NormalDist, fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Tasks = Sequence[NDArray[np.float64]]
"""For each seed, the accuracies (or losses) of a network on its test tasks."""


@dataclass(frozen=True)
class Mean:
    """A mean over n runs. ci95: half-width of its interval by Student's t; None for one run."""

    mean: float
    ci95: float | None
    n: int


def mean_of(values: Sequence[float | None]) -> Mean | None:
    """The mean of the values that are not None; None if there is no such value."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Mean(fmean(known), _student(len(known)) * _error(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True)
class Difference:
    """One network minus another, over the same tasks. NaN stands for what one seed alone cannot say.

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
        """From each seed's tasks, of which there are at least two."""
        paired = [(a - b).tolist() for a, b in zip(one, other, strict=True)]
        return cls.of_seeds([fmean(each) for each in paired], [_error(each) for each in paired])

    @classmethod
    def of_seeds(cls, means: Sequence[float], errors: Sequence[float]) -> "Difference":
        """From the mean difference of each seed, and its standard error over the tasks."""
        number, mean = len(means), fmean(means)
        over_seeds = p_seeds = nan
        if number > 1:
            over_seeds = _student(number) * _error(means)
            p_seeds = 2 * float(stdtr(number - 1, -_divided(abs(mean), _error(means))))
        error = sqrt(sum(each**2 for each in errors)) / number
        p_tasks = 2 * (1 - NormalDist().cdf(_divided(abs(mean), error)))
        return cls(mean, over_seeds, p_seeds, 1.96 * error, p_tasks)


def _student(number: int) -> float:
    """By how many standard errors of the mean of so many values its 95% interval extends to either side."""
    return float(stdtrit(number - 1, 0.975))


def _error(values: Sequence[float]) -> float:
    """The standard error of the mean of at least two values."""
    return stdev(values) / sqrt(len(values))


def _divided(value: float, by: float) -> float:
    """A test's statistic: infinite if only `by` is 0, and 0 if both are."""
    return value / by if by > 0 else inf if value > 0 else 0.0
