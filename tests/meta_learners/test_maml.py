"""What MAML has of its own: weights of steps, learned rates, which part adapts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasmeta.meta_learners.maml import Maml, step_weights
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from tests.meta_learners.options import learner


@given(steps=st.integers(1, 10), iteration=st.integers(0, 200), anneal=st.integers(0, 100))
def test_step_weights(steps: int, iteration: int, anneal: int) -> None:
    weights = step_weights(steps, iteration, anneal)
    assert len(weights) == steps
    assert sum(weights) == pytest.approx(1.0)
    assert min(weights) >= 0.0
    assert weights[-1] == pytest.approx(max(weights))
    assert len(set(weights[:-1])) <= 1, "all but the last are alike"
    later = step_weights(steps, iteration + 1, anneal)
    assert later[-1] >= weights[-1], "the last step only gains"


@pytest.mark.parametrize(
    "iteration, expected",
    [
        (0, [0.25, 0.25, 0.25, 0.25]),
        (50, [0.125, 0.125, 0.125, 0.625]),
        (99, [0.0075, 0.0075, 0.0075, 0.9775]),  # the floor: 0.03 / 4
        (100, [0.0, 0.0, 0.0, 1.0]),
        (10_000, [0.0, 0.0, 0.0, 1.0]),
    ],
)
def test_step_weights_anneal(iteration: int, expected: list[float]) -> None:
    assert step_weights(4, iteration, 100) == pytest.approx(expected)


def test_no_annealing_is_the_last_step_from_the_start() -> None:
    assert step_weights(3, 0, 0) == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    "adapted_part, parts", [("all", ("body.", "head.")), ("head", ("head.",)), ("body", ("body.",))]
)
def test_only_the_adapted_part_moves(adapted_part: str, parts: tuple[str, ...]) -> None:
    maml = learner("maml", "transductive", adapted_part=adapted_part)
    assert isinstance(maml, Maml)
    state = init(maml, conv_network())
    batch = BlobSampler("train").batch(0, 1)
    (adapted,) = maml.inner_steps(state, batch.support_x[0], batch.support_y[0], 1, create_graph=False)
    moved = {name for name, p in adapted.items() if not torch.equal(p, state.parameters[name])}
    assert moved
    assert all(name.startswith(parts) for name in moved)
    assert all(any(name.startswith(part) for name in moved) for part in parts)


def test_learned_rates_start_at_inner_lr_for_every_tensor_and_step() -> None:
    maml = learner("maml", "support", inner_lr=0.4, train_steps=3, adapted_part="head")
    state = init(maml, conv_network())
    rates = {name: p.tolist() for name, p in state.parameters.items() if name.startswith("meta.")}
    expected = pytest.approx([0.4, 0.4, 0.4])
    assert rates == {"meta.inner_lr.head.weight": expected, "meta.inner_lr.head.bias": expected}


def test_learned_rates_that_have_not_moved_are_the_fixed_one() -> None:
    batch = BlobSampler("valid").batch(0, 2)
    predictions = []
    for learned in (True, False):
        maml = learner("maml", "support", learn_inner_lr=learned, test_steps=4)
        state = init(maml, conv_network())
        predictions.append(maml.predict(state, *batch[:3]))
    torch.testing.assert_close(*predictions)


def test_test_steps_beyond_the_last_training_step_use_its_rate() -> None:
    maml = learner("maml", "support", learn_inner_lr=True, train_steps=2, test_steps=4, adapted_part="head")
    longer = learner("maml", "support", learn_inner_lr=True, train_steps=4, test_steps=4, adapted_part="head")
    batch = BlobSampler("valid").batch(0, 2)
    predictions = []
    for chosen, rates in ((maml, [0.1, 0.7]), (longer, [0.1, 0.7, 0.7, 0.7]), (longer, [0.1, 0.7, 0.1, 0.7])):
        state = init(chosen, conv_network())
        for name in ("head.weight", "head.bias"):
            state.parameters[f"meta.inner_lr.{name}"] = torch.tensor(rates)
        predictions.append(chosen.predict(state, *batch[:3]))
    torch.testing.assert_close(predictions[0], predictions[1])
    assert not torch.allclose(predictions[0], predictions[2])
