import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasmeta.strategies.surrogate.acquisition import (
    log_expected_improvement,
    thompson,
)

NUMBERS = st.floats(-3, 3)
STDS = st.floats(0.05, 3)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(mean=NUMBERS, std=STDS, best=NUMBERS)
def test_expected_improvement_is_the_integral_that_it_is_the_closed_form_of(
    mean: float, std: float, best: float
) -> None:
    low, high = max(best, mean - 12 * std), mean + 12 * std
    closed = float(log_expected_improvement(vector(mean), vector(std), best))
    if low >= high:  # 12 deviations away
        assert closed < -60
        return
    score = torch.linspace(low, high, 20_001, dtype=torch.float64)
    density = torch.exp(-((score - mean) / std).square() / 2) / (std * math.sqrt(2 * math.pi))
    integral = float(torch.trapezoid((score - best) * density, score))
    if integral > 1e-15:
        assert closed == pytest.approx(math.log(integral), abs=1e-3)


def test_the_logarithm_goes_on_where_the_expectation_underflows() -> None:
    z = -torch.logspace(0, 4, 200, dtype=torch.float64)
    values = log_expected_improvement(z, torch.ones_like(z), 0.0)
    assert values.isfinite().all()
    assert (values.diff() < 0).all()
    # Mills' ratio to three terms: phi(z) (1/z^2 - 3/z^4 + 15/z^6 - ...).
    far = z[z < -30]
    series = -far.square() / 2 - math.log(2 * math.pi) / 2 - 2 * far.abs().log()
    series = series + torch.log1p(-3 / far.square() + 15 / far**4)
    # Where z^2 is above 1e6, rounding of the cancelled terms shows.
    torch.testing.assert_close(values[z < -30], series, rtol=1e-7, atol=1e-6)


def test_expected_improvement_prefers_doubt_among_equal_means() -> None:
    values = log_expected_improvement(vector(0, 0, 0), vector(0.1, 0.2, 0.4), 1.0)
    assert (values.diff() > 0).all()


def test_thompson_draws_from_each_prediction() -> None:
    mean, std = vector(-1.0, 4.0).repeat_interleave(50_000), vector(0.5, 2.0).repeat_interleave(50_000)
    before = torch.get_rng_state()
    drawn = thompson(mean, std, torch.Generator().manual_seed(1)).view(2, -1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(drawn.mean(dim=1), vector(-1.0, 4.0), rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.std(dim=1), vector(0.5, 2.0), rtol=0.02, atol=0)
    again = thompson(mean, std, torch.Generator().manual_seed(1)).view(2, -1)
    assert torch.equal(drawn, again)
