import numpy as np
import pytest

from nasmeta.seeding import stream
from nasmeta.strategies.ridge import PENALTIES, fit


def dense(n: int, d: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = stream(0, "ridge", n, d)
    x = rng.normal(size=(n, d))
    return x, x @ rng.normal(size=d) + 3 + noise * rng.normal(size=n)


def named(x: np.ndarray) -> list[dict[object, float]]:
    return [{f"f{j}": float(value) for j, value in enumerate(row)} for row in x]


@pytest.mark.parametrize("n,d,noise", [(12, 4, 1.0), (6, 20, 1.0), (20, 60, 100.0)])
def test_it_is_the_ridge_regression_whose_leave_one_out_error_is_least(n: int, d: int, noise: float) -> None:
    """Against the primal normal equations, and against really leaving one out, for every penalty."""
    x, y = dense(n, d, noise)
    centred, targets = x - x.mean(0), y - y.mean()
    scale = np.square(centred).sum() / n

    def solve(a: np.ndarray, b: np.ndarray, penalty: float) -> np.ndarray:
        return np.linalg.solve(a.T @ a + penalty * np.eye(d), a.T @ b)

    def left_out(penalty: float) -> float:
        misses = []
        for i in range(n):
            others, known = np.delete(x, i, axis=0), np.delete(y, i)
            found = solve(others - others.mean(0), known - known.mean(), penalty)
            misses.append(y[i] - known.mean() - (x[i] - others.mean(0)) @ found)
        return float(np.mean(np.square(misses)))

    best = min((relative * scale for relative in PENALTIES), key=left_out)
    weights = solve(centred, targets, best)
    model = fit(named(x), y.tolist())
    new = stream(1, "ridge").normal(size=(5, d))
    expected = y.mean() + (new - x.mean(0)) @ weights
    assert [model.predict(row) for row in named(new)] == pytest.approx(expected.tolist(), rel=1e-6)


def test_a_line_is_found() -> None:
    model = fit([{"x": float(i)} for i in range(6)], [2.0 * i + 1 for i in range(6)])
    assert model.predict({"x": 10.0}) == pytest.approx(21, abs=1e-3)
    assert model.predict({"x": 10.0, "never seen": 5.0}) == pytest.approx(21, abs=1e-3)


def test_one_trial_or_equal_ones_give_their_mean() -> None:
    assert fit([{"x": 1.0}], [0.3]).predict({"x": 7.0}) == 0.3
    assert fit([{"x": 1.0}, {"x": 1.0}], [0.2, 0.4]).predict({"x": 9.0}) == pytest.approx(0.3)
