"""The rank vote of several proxies (after the "vote" of Abdelfattah et al. 2021, arXiv:2101.08134).

Each proxy has its own scale, so only ranks can be averaged. The paper takes the majority vote between two
given networks. A deviation, because the score of a trial must not depend on other trials: here a network is
ranked against a reference sample, drawn once from the space by the run's seed. Its score is the share of the
sample that it beats (ties count half), averaged over the proxies. So scores are multiples of
1 / (2 * sample * proxies), and all networks that beat the whole sample by every proxy have 1.
"""

import math
from collections.abc import Sequence
from statistics import fmean


def vote(values: Sequence[float], reference: Sequence[Sequence[float]]) -> float:
    """The mean rank in [0, 1] of a network with proxies `values` [proxies]; NaN if one of them is NaN.

    reference: [sample, proxies]. A NaN in it is the lowest rank.
    """
    if any(math.isnan(value) for value in values):
        return math.nan
    return fmean(
        rank(value, column) for value, column in zip(values, zip(*reference, strict=True), strict=True)
    )


def rank(value: float, sample: Sequence[float]) -> float:
    """The share of the sample below `value`, ties counting half."""
    others = [-math.inf if math.isnan(other) else other for other in sample]
    return fmean((other < value) + 0.5 * (other == value) for other in others)
