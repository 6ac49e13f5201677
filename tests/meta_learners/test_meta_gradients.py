"""Meta-gradients of a convolutional network in float64: finite differences and a reference by hand."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.maml import Maml, step_weights
from nasmeta.meta_learners.protonet import ProtoNet
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.task import TaskBatch
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from tests.meta_learners import reference
from tests.meta_learners.options import learner

STEP = 1e-6


def double_state(learner: MetaLearner) -> MetaState:
    """A small network in float64, moved off its symmetric start (batch norms begin with weights of 1)."""
    state = init(learner, conv_network(width=3).double())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in state.parameters.values():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * noise)
    return state


def double_batch(tasks: int = 2) -> TaskBatch:
    return BlobSampler("train", shot=2, query=2, dtype=torch.float64).batch(0, tasks)


def task_list(batch: TaskBatch) -> list[tuple[Tensor, ...]]:
    return list(zip(*batch[:4], strict=True))


def assert_slopes(loss: Callable[[], float], state: MetaState, gradients: dict[str, Tensor]) -> None:
    """Central differences of `loss` along a random direction of every tensor."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in state.parameters.items():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        values = []
        for sign in (1.0, -1.0):
            start = parameter.detach().clone()
            with torch.no_grad():
                parameter.add_(sign * STEP * direction)
            values.append(loss())
            with torch.no_grad():
                parameter.copy_(start)
        slope = (values[0] - values[1]) / (2 * STEP)
        expected = float((gradients[name] * direction).sum())
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-8), name


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(got) == set(expected)
    for name, gradient in got.items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=1e-8, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}"
        )


def autograd(loss: Tensor, state: MetaState) -> dict[str, Tensor]:
    values = torch.autograd.grad(
        loss, list(state.parameters.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(state.parameters, values, strict=True))


def maml_reference(learner: Maml, state: MetaState, batch: TaskBatch, iteration: int) -> Tensor:
    parts = {"all": ("body.", "head."), "head": ("head.",), "body": ("body.",)}[learner.adapted_part]
    adapted = [name for name in state.parameters if name.startswith(parts)]
    fixed = torch.full((learner.train_steps,), learner.inner_lr, dtype=torch.float64)
    rates = {name: state.parameters.get(f"meta.inner_lr.{name}", fixed) for name in adapted}
    return reference.maml_loss(
        state.parameters,
        task_list(batch),
        adapted=adapted,
        rates=rates,
        step_weights=step_weights(learner.train_steps, iteration, learner.multi_step_iterations),
        second_order=learner.second_order,
        policy=learner.batch_norm.value,
    )


MAML_OPTIONS = [
    {"learn_inner_lr": False},
    {"learn_inner_lr": False, "second_order": False},
    {"learn_inner_lr": True},
    {"learn_inner_lr": True, "second_order": False},
    {"learn_inner_lr": True, "multi_step_iterations": 10},
]


@pytest.mark.parametrize("adapted_part", ["all", "head", "body"])
@pytest.mark.parametrize("options", MAML_OPTIONS, ids=str)
def test_maml_is_the_reference(policy: BatchNormPolicy, adapted_part: str, options: dict[str, bool]) -> None:
    maml = learner("maml", policy, train_steps=2, adapted_part=adapted_part, **options)
    assert isinstance(maml, Maml)
    state, batch = double_state(maml), double_batch()
    gradients, _ = maml.meta_gradient(state, batch, 3)
    expected = autograd(maml_reference(maml, state, batch, 3), state)
    assert_same(gradients, expected)
    if options.get("learn_inner_lr"):
        # A convolution's bias before a batch norm changes nothing, and neither does its rate.
        moving = [n for n in expected if n.startswith("meta.") and not n.endswith(("0.bias", "4.bias"))]
        assert moving
        assert all((gradients[name] != 0).all() for name in moving)


@pytest.mark.parametrize("adapted_part", ["all", "head", "body"])
def test_maml_has_the_slopes_of_its_loss(policy: BatchNormPolicy, adapted_part: str) -> None:
    maml = learner("maml", policy, train_steps=2, adapted_part=adapted_part, learn_inner_lr=True)
    state, batch = double_state(maml), double_batch(1)
    gradients, _ = maml.meta_gradient(state, batch, 0)
    assert_slopes(lambda: float(maml.meta_gradient(state, batch, 0)[1]["loss"]), state, gradients)


def test_multi_step_maml_has_the_slopes_of_its_loss(policy: BatchNormPolicy) -> None:
    maml = learner("maml", policy, train_steps=2, learn_inner_lr=True, multi_step_iterations=10)
    assert isinstance(maml, Maml)
    state, batch = double_state(maml), double_batch(1)
    gradients, _ = maml.meta_gradient(state, batch, 3)
    assert_slopes(lambda: float(maml_reference(maml, state, batch, 3).detach()), state, gradients)


def test_orders_differ() -> None:
    """What first order leaves out is there to be left out."""
    first, second = (learner("maml", "support", second_order=order) for order in (False, True))
    state = double_state(first)
    one, other = (m.meta_gradient(state, double_batch(), 0)[0]["body.0.weight"] for m in (first, second))
    assert (one - other).norm() > 0.05 * other.norm()


PROTONET_OPTIONS = [("euclidean", False), ("euclidean", True), ("cosine", True)]


@pytest.mark.parametrize("distance, learned", PROTONET_OPTIONS)
def test_protonet_is_the_reference(policy: BatchNormPolicy, distance: str, learned: bool) -> None:
    protonet = learner("protonet", policy, distance=distance, learn_temperature=learned)
    assert isinstance(protonet, ProtoNet)
    state, batch = double_state(protonet), double_batch(3)
    gradients, metrics = protonet.meta_gradient(state, batch, 0)
    temperature = state.parameters["meta.log_temperature"].exp() if learned else torch.ones(())
    loss = reference.protonet_loss(
        state.parameters, task_list(batch), policy=policy.value, distance=distance, temperature=temperature
    )
    assert float(metrics["loss"]) == pytest.approx(float(loss.detach()), rel=1e-10)
    assert_same(gradients, autograd(loss, state))


@pytest.mark.parametrize("distance, learned", PROTONET_OPTIONS)
def test_protonet_has_the_slopes_of_its_loss(policy: BatchNormPolicy, distance: str, learned: bool) -> None:
    protonet = learner("protonet", policy, distance=distance, learn_temperature=learned)
    state, batch = double_state(protonet), double_batch()
    gradients, _ = protonet.meta_gradient(state, batch, 0)
    assert_slopes(lambda: float(protonet.meta_gradient(state, batch, 0)[1]["loss"]), state, gradients)


def test_ridge_is_the_reference(policy: BatchNormPolicy) -> None:
    ridge = learner("ridge", policy)
    state, batch = double_state(ridge), double_batch(3)
    gradients, metrics = ridge.meta_gradient(state, batch, 0)
    loss = reference.ridge_loss(state.parameters, task_list(batch), policy=policy.value)
    assert float(metrics["loss"]) == pytest.approx(float(loss.detach()), rel=1e-10)
    assert_same(gradients, autograd(loss, state))
    assert gradients["meta.log_lambda"].abs() > 1e-4


def test_ridge_has_the_slopes_of_its_loss(policy: BatchNormPolicy) -> None:
    ridge = learner("ridge", policy)
    state, batch = double_state(ridge), double_batch()
    gradients, _ = ridge.meta_gradient(state, batch, 0)
    assert_slopes(lambda: float(ridge.meta_gradient(state, batch, 0)[1]["loss"]), state, gradients)


def test_finetune_trains_an_ordinary_classifier(policy: BatchNormPolicy) -> None:
    """Against torch's own modules, batch norm included, over all classes of the split."""
    finetune = learner("finetune", policy)
    state, batch = double_state(finetune), double_batch()
    gradients, metrics = finetune.meta_gradient(state, batch, 0)

    body = conv_network(width=3).double().body
    classifier = nn.Linear(state.network.features, state.task.train_classes).double()
    body.load_state_dict(
        {n.removeprefix("body."): p.detach() for n, p in state.parameters.items() if "body." in n},
        strict=False,
    )
    classifier.load_state_dict({n: state.parameters[f"meta.{n}"].detach() for n in ("weight", "bias")})
    images, labels = [], []
    for task in range(2):
        images += [*batch.support_x[task], *batch.query_x[task]]
        labels += [batch.classes[task, y] for y in (*batch.support_y[task], *batch.query_y[task])]
    logits = classifier(body(torch.stack(images)))
    loss = F.cross_entropy(logits, torch.stack(labels))
    loss.backward()
    expected = {f"body.{name}": p.grad for name, p in body.named_parameters()}
    expected |= {f"meta.{name}": p.grad for name, p in classifier.named_parameters()}
    expected |= {name: torch.zeros_like(state.parameters[name]) for name in ("head.weight", "head.bias")}
    assert_same(gradients, expected)
    assert float(metrics["loss"]) == pytest.approx(float(loss.detach()), rel=1e-10)
    accuracy = float((logits.argmax(1) == torch.stack(labels)).double().mean())
    assert float(metrics["accuracy"]) == pytest.approx(accuracy)
