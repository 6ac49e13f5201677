from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmeta.strategies.surrogate.targets import normal_scores

SCORES = st.lists(st.integers(-1000, 1000).map(float), min_size=1, max_size=40)


def test_the_middle_of_three_is_zero_and_the_others_are_blom_s() -> None:
    outer = NormalDist().inv_cdf((3 - 0.375) / 3.25)
    assert normal_scores([10.0, -7.5, 94.0]) == pytest.approx([0, -outer, outer], abs=1e-6)


def test_equal_scores_share_the_mean_of_their_ranks() -> None:
    tied = NormalDist().inv_cdf((2.5 - 0.375) / 4.25)
    assert normal_scores([1.0, 2.0, 2.0, 3.0])[1:3] == pytest.approx([tied, tied], abs=1e-6)
    assert normal_scores([5.0, 5.0]).tolist() == [0.0, 0.0]


@given(scores=SCORES)
def test_order_is_all_that_counts(scores: list[float]) -> None:
    values = np.array(scores)
    targets = normal_scores(scores)
    assert targets.dtype == np.float32
    assert np.array_equal(
        np.sign(values[:, None] - values), np.sign(targets[:, None] - targets).astype(np.float64)
    )
    assert np.array_equal(targets, normal_scores((values**3 - 7).tolist()))
    assert targets == pytest.approx(-normal_scores((-values).tolist()), abs=1e-5)
