"""Scores as regression targets, whatever their scale."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


def normal_scores(scores: Sequence[float]) -> NDArray[np.float32]:
    """The standard normal quantile of each score's rank (Blom 1958), ties averaged.

    The quantile is at (rank - 3/8) / (n + 1/4). A search needs only the order of its scores, and their spread
    misleads: a table's accuracies pile up a few points below the best, with failures at chance far away.
    Ranks spread out the best and cap the worst, and make a strategy indifferent to any increasing
    transformation of the scores.
    """
    values = np.asarray(scores, dtype=np.float64)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    normal = NormalDist()
    quantiles = [normal.inv_cdf((rank - 0.375) / (len(values) + 0.25)) for rank in ranks]
    return np.array(quantiles, dtype=np.float32)[inverse]
