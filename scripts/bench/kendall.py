"""Kendall's tau of two columns, and its 95% bootstrap interval."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from nasmeta import seeding


def tau(x: Any, y: Any) -> float:
    """Kendall's tau-b; 0 if a side is constant."""
    result = float(kendalltau(x, y).statistic)
    return 0.0 if math.isnan(result) else result


def draws(count: int, resamples: int) -> NDArray[np.int64]:
    """The rows, out of `count`, of each resample; always the same, so that differences can be paired."""
    return seeding.stream(0, "bootstrap").integers(count, size=(resamples, count))


def interval(samples: Any) -> tuple[float, float]:
    """The 95% percentile interval."""
    low, high = np.quantile(samples, (0.025, 0.975))
    return float(low), float(high)


def spread(value: float, low: float, high: float) -> str:
    """A tau, or a difference of two, with the ends of its interval: +0.52 (+0.31 to +0.70)."""
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
