"""Meta-gradients of parabolas, against the formulas in tests/meta_learners/quadratic.py."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmeta.meta_learners.maml import Maml
from nasmeta.meta_learners.reptile import Reptile
from nasmeta.networks.policy import BatchNormPolicy
from tests.meta_learners import quadratic

curvatures = st.floats(0.1, 3.0)
weights = st.floats(0.1, 3.0) | st.floats(-3.0, -0.1)
rates = st.floats(0.01, 0.9)
steps = st.integers(1, 4)


def maml(*, second_order: bool, steps: int, rate: float, adapted_part: str = "all", anneal: int = 0) -> Maml:
    return Maml(
        second_order=second_order,
        train_steps=steps,
        test_steps=steps,
        inner_lr=rate,
        learn_inner_lr=False,
        multi_step_iterations=anneal,
        adapted_part=adapted_part,
        batch_norm=BatchNormPolicy.TRANSDUCTIVE,
    )


def reptile(*, steps: int, rate: float, policy: BatchNormPolicy = BatchNormPolicy.TRANSDUCTIVE) -> Reptile:
    return Reptile(
        train_steps=steps,
        test_steps=steps,
        inner_optimizer="sgd",
        inner_lr=rate,
        inner_batch=100,
        adam_beta1=0.0,
        batch_norm=policy,
    )


@given(a=curvatures, b=curvatures, w=weights, rate=rates, steps=steps)
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("adapted_part, in_body", [("all", False), ("head", False), ("body", True)])
def test_maml(
    a: float, b: float, w: float, rate: float, steps: int, adapted_part: str, in_body: bool
) -> None:
    c = 1 - rate * a
    for second_order, expected in ((True, b * c ** (2 * steps) * w), (False, b * c**steps * w)):
        learner = maml(second_order=second_order, steps=steps, rate=rate, adapted_part=adapted_part)
        state = quadratic.state(learner, w, in_body=in_body)
        gradients, metrics = learner.meta_gradient(state, quadratic.batch(a, b), 0)
        got = float(gradients[quadratic.weight_name(in_body=in_body)])
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert float(metrics["loss"]) == pytest.approx(b * (c**steps * w) ** 2 / 2, rel=1e-9)
        assert float(gradients["head.bias"]) == 0.0


@given(a=curvatures, b=curvatures, w=weights, rate=rates, steps=steps, iteration=st.integers(0, 12))
@settings(max_examples=15, deadline=None)
def test_multi_step_maml(a: float, b: float, w: float, rate: float, steps: int, iteration: int) -> None:
    """The query loss of step k counts b * c^(2k) * w, by a weight that falls to 0.03 / steps until 10."""
    c = 1 - rate * a
    early = max(1 - iteration / 10, 0.03) / steps if iteration < 10 else 0.0
    expected = b * c ** (2 * steps) * w * (1 - early * (steps - 1))
    expected += sum(early * b * c ** (2 * k) * w for k in range(1, steps))
    learner = maml(second_order=True, steps=steps, rate=rate, anneal=10)
    gradients, _ = learner.meta_gradient(quadratic.state(learner, w), quadratic.batch(a, b), iteration)
    assert float(gradients["head.weight"]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(a=curvatures, w=weights, rate=rates, steps=steps)
@settings(max_examples=15, deadline=None)
def test_reptile(a: float, w: float, rate: float, steps: int) -> None:
    learner = reptile(steps=steps, rate=rate)
    gradients, _ = learner.meta_gradient(quadratic.state(learner, w), quadratic.batch(a, a), 0)
    expected = (1 - (1 - rate * a) ** steps) * w
    assert float(gradients["head.weight"]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_tasks_count_alike() -> None:
    """The meta-gradient of two tasks is the mean of theirs, in MAML and in Reptile."""
    for learner in (maml(second_order=True, steps=2, rate=0.3), reptile(steps=2, rate=0.3)):
        one, other = quadratic.batch(1.0, 2.0), quadratic.batch(0.5, 1.5)
        both = type(one)(*(torch.cat(parts) for parts in zip(one, other, strict=True)))
        state = quadratic.state(learner, 0.7)
        separate = [float(learner.meta_gradient(state, b, 0)[0]["head.weight"]) for b in (one, other)]
        assert separate[0] != pytest.approx(separate[1], rel=0.01)
        got = float(learner.meta_gradient(state, both, 0)[0]["head.weight"])
        assert got == pytest.approx(sum(separate) / 2, rel=1e-12)


@pytest.mark.parametrize("adapted_part, in_body", [("all", False), ("head", False), ("body", True)])
def test_prediction_after_test_steps(adapted_part: str, in_body: bool) -> None:
    learner = maml(second_order=True, steps=1, rate=0.3, adapted_part=adapted_part)
    learner.test_steps = 5
    state = quadratic.state(learner, 0.7, in_body=in_body)
    support_x, support_y, query_x, _, _ = quadratic.batch(1.0, 2.0)
    expected = 0.7 * (1 - 0.3 * 1.0) ** 5 * query_x
    got = learner.predict(state, support_x, support_y, query_x)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
