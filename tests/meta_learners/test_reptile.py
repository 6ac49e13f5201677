"""Reptile's minibatches, and its step against MAML's inner one."""

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nasmeta.meta_learners.gradients import task_loss
from nasmeta.meta_learners.reptile import Reptile, minibatches
from nasmeta.networks.network import Network
from nasmeta.task import TaskSpec
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from tests.meta_learners.options import learner


def task(ways: int) -> TaskSpec:
    return TaskSpec("classification", (1,), ways, ways)


def numbered(ways: int, *shots: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Sets (x, y) ordered by class; x is a number of its own for every example."""
    sets, first = [], 0
    for shot in shots:
        labels = torch.arange(ways).repeat_interleave(shot)
        sets.append((torch.arange(first, first + len(labels)), labels))
        first += len(labels)
    return tuple(sets)


@given(
    ways=st.integers(2, 6), shots=st.lists(st.integers(1, 5), min_size=1, max_size=2), size=st.integers(1, 40)
)
def test_minibatches(ways: int, shots: list[int], size: int) -> None:
    sets = numbered(ways, *shots)
    label_of = {int(x): int(y) for xs, ys in sets for x, y in zip(xs, ys, strict=True)}
    n = len(label_of)
    batches = list(islice(minibatches(sets, task(ways), size), 3 * n))
    for x, y in batches:
        assert len(x) == len(y) == min(size, n)
        assert [label_of[int(i)] for i in x] == y.tolist(), "labels stay with their examples"
    walk = torch.cat([x for x, _ in batches]).tolist()
    for start in range(0, len(walk) - n + 1, n):
        assert sorted(walk[start : start + n]) == list(range(n)), "all examples before any comes again"
    if size < n:
        counts = [torch.bincount(y, minlength=ways) for _, y in batches]
        assert all(int(c.max() - c.min()) <= 1 for c in counts), "balanced by class"


def test_minibatches_wrap_round() -> None:
    batches = islice(minibatches(numbered(2, 1, 2), task(2), 4), 3)
    assert [x.tolist() for x, _ in batches] == [[0, 1, 2, 4], [3, 5, 0, 1], [2, 4, 3, 5]]


def test_of_classes_of_different_sizes_those_with_examples_left_take_turns() -> None:
    x, y = torch.arange(5), torch.tensor([0, 0, 0, 1, 1])
    batches = islice(minibatches(((x, y),), task(2), 3), 2)
    assert [x.tolist() for x, _ in batches] == [[0, 3, 1], [4, 2, 0]]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_keep_their_layout(channels: int) -> None:
    images = torch.zeros(15, 8, 8, channels).permute(0, 3, 1, 2)
    labels = torch.arange(5).repeat_interleave(3)
    sets = ((images[:5], torch.arange(5)), (images, labels))
    for x, _ in islice(minibatches(sets, task(5), 7), 8):
        assert x.stride() == (64 * channels, 1, 8 * channels, channels)


def test_one_full_step_of_sgd_is_the_gradient_times_the_rate() -> None:
    reptile = learner("reptile sgd", "transductive", train_steps=1, inner_batch=1000)
    assert isinstance(reptile, Reptile)
    state = init(reptile, conv_network().double())
    batch = BlobSampler("train", dtype=torch.float64).batch(0, 1)
    gradients, metrics = reptile.meta_gradient(state, batch, 0)
    x = torch.cat([batch.support_x[0], batch.query_x[0]])
    y = torch.cat([batch.support_y[0], batch.query_y[0]])
    loss = task_loss("classification", state.network(state.parameters, x), y)
    expected = torch.autograd.grad(loss, list(state.parameters.values()))
    for (name, got), slope in zip(gradients.items(), expected, strict=True):
        torch.testing.assert_close(got, 0.1 * slope, rtol=1e-8, atol=1e-12, msg=name)
    assert float(metrics["loss"]) == pytest.approx(float(loss.detach()))


@pytest.mark.parametrize("steps,expected", [(1, [0, 1]), (5, [0, 0.25, 0.5, 0.75, 1, 1])])
def test_the_temperature_has_its_end_at_the_last_step(
    steps: int, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    monkeypatch.setattr(Network, "anneal", lambda network, progress: told.append(progress))
    reptile = learner("reptile", "transductive", train_steps=steps)
    reptile.meta_gradient(init(reptile, conv_network(width=3)), BlobSampler("train").batch(0, 1), 0)
    assert told == expected


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_inner_adam_by_hand(beta1: float) -> None:
    """Kingma & Ba 2015, algorithm 1, over two minibatches, starting fresh."""
    reptile = learner("reptile", "transductive", train_steps=2, adam_beta1=beta1)
    assert isinstance(reptile, Reptile)
    state = init(reptile, conv_network(width=3).double())
    batch = BlobSampler("train", dtype=torch.float64).batch(0, 1)
    gradients, _ = reptile.meta_gradient(state, batch, 0)
    sets = ((batch.support_x[0], batch.support_y[0]), (batch.query_x[0], batch.query_y[0]))
    current = {n: p.detach().clone() for n, p in state.parameters.items()}
    first = {n: torch.zeros_like(p) for n, p in current.items()}
    second = {n: torch.zeros_like(p) for n, p in current.items()}
    for step, (x, y) in enumerate(islice(minibatches(sets, state.task, 10), 2), 1):
        current = {n: p.requires_grad_() for n, p in current.items()}
        loss = task_loss("classification", state.network(current, x), y)
        slopes = dict(zip(current, torch.autograd.grad(loss, list(current.values())), strict=True))
        for name, slope in slopes.items():
            first[name] = beta1 * first[name] + (1 - beta1) * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            mean, square = first[name] / (1 - beta1**step), second[name] / (1 - 0.999**step)
            current[name] = current[name].detach() - 0.001 * mean / (square.sqrt() + 1e-8)
    for name in ("body.0.weight", "body.5.weight", "head.weight", "head.bias"):
        expected = state.parameters[name].detach() - current[name]
        torch.testing.assert_close(gradients[name], expected, rtol=1e-6, atol=1e-10, msg=name)
