"""Means and paired differences against SciPy's own tests."""

import math

import numpy as np
import pytest
from scipy import stats

from nasmeta.reporting.read.statistics import Difference


def test_the_tests_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    one, other = (list(rng.uniform(size=(4, 50))) for _ in range(2))
    found = Difference.of(one, other)
    means = [float((a - b).mean()) for a, b in zip(one, other, strict=True)]
    assert found.mean == pytest.approx(np.mean(means))
    expected = stats.ttest_1samp(means, 0)
    assert found.p_seeds == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert found.over_seeds == pytest.approx((high - low) / 2)
    alone = Difference.of(one[:1], other[:1])
    assert math.isnan(alone.over_seeds)
    paired_tasks = one[0] - other[0]
    z = paired_tasks.mean() / (paired_tasks.std(ddof=1) / math.sqrt(50))
    assert alone.p_tasks == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_equal_networks_differ_by_nothing() -> None:
    same = [np.array([0.5, 0.75])] * 2
    found = Difference.of(same, same)
    assert (found.mean, found.over_seeds, found.p_seeds, found.p_tasks) == (0, 0, 1, 1)
