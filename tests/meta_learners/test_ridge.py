"""Ridge regression against the normal equations in float64, and what the learner makes of it by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasmeta.errors import ConfigError, Diverged
from nasmeta.meta_learners.base import adopt_population
from nasmeta.meta_learners.ridge import ridge_weights
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.testing.meta_learners import WAY, BlobSampler, conv_network, init, training_sampler
from nasmeta.training.meta_training import MetaTraining
from tests.meta_learners.options import learner

PLANE = TaskSpec("classification", (2,), 2, 2)
LINE = TaskSpec("regression", (1,), 1)


@given(
    tasks=st.integers(1, 3),
    examples=st.integers(1, 7),
    features=st.integers(1, 7),
    outputs=st.integers(1, 4),
    penalty=st.floats(1e-3, 100.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_the_weights_solve_the_normal_equations(
    tasks: int, examples: int, features: int, outputs: int, penalty: float, seed: int
) -> None:
    """Either form of the solution, whichever is the smaller system, is numpy's for every task."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tasks, examples, features, generator=generator, dtype=torch.float64)
    y = torch.randn(tasks, examples, outputs, generator=generator, dtype=torch.float64)
    got = ridge_weights(x, y, torch.tensor(penalty, dtype=torch.float64))
    assert got.shape == (tasks, features, outputs)
    for task in range(tasks):
        a, b = x[task].numpy(), y[task].numpy()
        expected = np.linalg.solve(a.T @ a + penalty * np.eye(features), a.T @ b)
        np.testing.assert_allclose(got[task].numpy(), expected, rtol=1e-7, atol=1e-9)


def test_float32_is_near_enough() -> None:
    """Five embeddings of 64 features, about as large as batch norm leaves them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, 64, generator=generator).abs()
    y = torch.eye(5).expand(4, 5, 5)
    exact = ridge_weights(x.double(), y.double(), torch.tensor(1.0, dtype=torch.float64))
    got = ridge_weights(x, y, torch.tensor(1.0))
    torch.testing.assert_close(got.double(), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("examples, features", [(3, 5), (5, 3)])
def test_the_solution_is_differentiated_through(examples: int, features: int) -> None:
    """First and second derivatives with respect to embeddings, targets and penalty."""
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(2, examples, features, generator=generator, dtype=torch.float64),
        torch.randn(2, examples, 2, generator=generator, dtype=torch.float64),
        torch.tensor(0.7, dtype=torch.float64),
    ]
    assert torch.autograd.gradcheck(ridge_weights, [value.requires_grad_() for value in inputs])
    assert torch.autograd.gradgradcheck(ridge_weights, inputs)


class Operations(TorchDispatchMode):
    """Remembers the names of all operations that are run inside, and which of them check for errors."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.checking: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        self.names.add(name)
        given = dict(zip((a.name for a in function._schema.arguments), args, strict=False)) | (kwargs or {})
        if given.get("check_errors"):
            self.checking.add(name)
        return function(*args, **(kwargs or {}))


def test_nothing_reads_the_solvers_errors() -> None:
    """On a GPU that would wait for the device in every meta-iteration; the meta device does not notice."""
    ridge = learner("ridge", "support")
    state = init(ridge, conv_network())
    with Operations() as operations:
        ridge.meta_gradient(state, BlobSampler("train").batch(0, 2), 0)
    assert "_linalg_solve_ex" in operations.names
    assert not operations.checking
    assert not operations.names & {"_linalg_check_errors", "_local_scalar_dense"}


def points(body: nn.Module | None = None) -> FewShotNetwork:
    """Points of the plane are their own embeddings."""
    return FewShotNetwork(body or nn.Identity(), nn.Linear(2, 2))


def test_two_points_by_hand() -> None:
    """Support (2, 0) and (0, 2), with the constant feature: XX' + I is [[6, 1], [1, 6]].

    Its inverse is [[6, -1], [-1, 6]] / 35; the query (2, 0) has inner products 5 and 1 with the support, so
    the regression says (29, 1) / 35, ten times which are the logits.
    """
    ridge = learner("ridge", "support")
    state = init(ridge, points(), PLANE)
    support = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    got = ridge.predict(state, support, torch.tensor([[0, 1]]), torch.tensor([[[2.0, 0.0]]]))
    assert got[0, 0].tolist() == pytest.approx([290 / 35, 10 / 35], rel=1e-5)

    with torch.no_grad():
        state.parameters["meta.log_lambda"].fill_(math.log(3.0))  # [[8, 1], [1, 8]], its inverse / 63
        state.parameters["meta.alpha"].fill_(2.0)
        state.parameters["meta.beta"].fill_(0.5)
    got = ridge.predict(state, support, torch.tensor([[0, 1]]), torch.tensor([[[2.0, 0.0]]]))
    assert got[0, 0].tolist() == pytest.approx([2 * 39 / 63 + 0.5, 2 * 3 / 63 + 0.5], rel=1e-5)


def test_the_head_takes_no_part() -> None:
    ridge = learner("ridge", "support")
    state = init(ridge, conv_network())
    gradients, _ = ridge.meta_gradient(state, BlobSampler("train").batch(0, 2), 0)
    assert not gradients["head.weight"].any()
    assert not gradients["head.bias"].any()
    assert gradients["meta.log_lambda"] != 0
    assert gradients["meta.alpha"] != 0


def line(x: list[float], y: list[float], query: list[float], penalty: float) -> Tensor:
    ridge = learner("ridge", "support", lambda_init=penalty)
    ridge.check(LINE)
    state = init(ridge, FewShotNetwork(nn.Identity(), nn.Linear(1, 1)), LINE)
    assert [name for name in state.parameters if name.startswith("meta.")] == ["meta.log_lambda"]
    parts = (torch.tensor(values).view(1, -1, 1) for values in (x, y, query))
    return ridge.predict(state, *parts)[0, :, 0]


def test_regression_is_least_squares_with_a_bias() -> None:
    """With hardly a penalty, points of y = 3x - 2 are fitted exactly, the bias by the constant feature."""
    got = line([0.0, 1.0, 2.0], [-2.0, 1.0, 4.0], [5.0, -1.0], 1e-5)
    assert got.tolist() == pytest.approx([13.0, -5.0], abs=1e-2)


def test_regression_shrinks_by_the_penalty() -> None:
    """One point (0, 1): features (0, 1), so the bias is 1 / (1 + lambda)."""
    assert line([0.0], [1.0], [7.0], 3.0).tolist() == pytest.approx([0.25])


def test_more_ways_in_training_than_in_testing() -> None:
    ridge = learner("ridge", "running", train_way=9)
    state = init(ridge, conv_network())
    batch = training_sampler(ridge).batch(0, 2)
    assert batch.classes.shape == (2, 9)
    _, metrics = ridge.meta_gradient(state, batch, 0)
    assert 0.0 <= float(metrics["accuracy"]) <= 1.0
    adopt_population(ridge, state, [batch])
    assert ridge.predict(state, *BlobSampler("valid").batch(0, 2)[:3]).shape[-1] == WAY


def test_other_numbers_of_classes_at_test_time() -> None:
    ridge = learner("ridge", "support")
    state = ridge.with_num_classes(init(ridge, conv_network()), 7)
    assert ridge.predict(state, *BlobSampler("valid", way=7).batch(0, 1)[:3]).shape[-1] == 7


def test_regression_keeps_its_outputs() -> None:
    ridge = learner("ridge", "support")
    state = init(ridge, FewShotNetwork(nn.Identity(), nn.Linear(1, 1)), LINE)
    with pytest.raises(ConfigError, match=r"^task\.way: .* 1 outputs.* 2 classes$"):
        ridge.with_num_classes(state, 2)


class Broken(BlobSampler):
    """Its images are NaN."""

    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        batch = super().batch(iteration, tasks)
        return batch._replace(support_x=batch.support_x * float("nan"))


def test_an_unsolvable_system_is_a_divergence(optimizer) -> None:
    ridge = learner("ridge", "support")
    state = init(ridge, conv_network())
    training = MetaTraining(ridge, state, Broken("train"), optimizer, iterations=2, meta_batch=2)
    training.step()
    with pytest.raises(Diverged, match="the meta-training loss is nan at iteration 1"):
        training.read()
