"""What Meta-SGD has of its own: a rate for every entry of every parameter."""

import pytest
import torch

from nasmeta.errors import ConfigError
from nasmeta.meta_learners.base import MetaLearner, adopt_population
from nasmeta.meta_learners.maml import Maml
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from tests.meta_learners.options import learner
from tests.meta_learners.test_meta_gradients import assert_slopes, double_batch, double_state


def constant(
    rate: float, steps: int, *, second_order: bool, policy: BatchNormPolicy = BatchNormPolicy.SUPPORT
) -> MetaLearner:
    return learner(
        "meta_sgd",
        policy,
        alpha_min=rate,
        alpha_max=rate,
        train_steps=steps,
        test_steps=steps,
        second_order=second_order,
    )


def rates(state: MetaState) -> dict[str, torch.Tensor]:
    return {n.removeprefix("meta.alpha."): p for n, p in state.parameters.items() if n.startswith("meta.")}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("second_order", [True, False])
def test_constant_rates_are_maml(steps: int, second_order: bool, policy: BatchNormPolicy) -> None:
    """The same gradients with respect to the network, and the same predictions."""
    sgd = constant(0.4, steps, second_order=second_order, policy=policy)
    maml = learner(
        "maml",
        policy,
        inner_lr=0.4,
        learn_inner_lr=False,
        train_steps=steps,
        test_steps=steps,
        second_order=second_order,
    )
    states = [init(chosen, conv_network(width=3).double()) for chosen in (sgd, maml)]
    gradients = [
        chosen.meta_gradient(state, double_batch(), 0)[0]
        for chosen, state in zip((sgd, maml), states, strict=True)
    ]
    for name in states[1].parameters:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-9, atol=1e-12, msg=name)
    batch = BlobSampler("valid", dtype=torch.float64).batch(0, 2)
    for chosen, state in zip((sgd, maml), states, strict=True):
        adopt_population(chosen, state, [double_batch()])
    one, other = (
        chosen.predict(state, *batch[:3]) for chosen, state in zip((sgd, maml), states, strict=True)
    )
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_step_is_the_elementwise_product() -> None:
    sgd = learner("meta_sgd", "transductive")
    assert isinstance(sgd, Maml)
    state, batch = double_state(sgd), double_batch(1)
    x, y = batch.support_x[0], batch.support_y[0]
    loss = torch.nn.functional.cross_entropy(state.network(state.parameters, x), y)
    gradients = torch.autograd.grad(loss, list(state.network_parameters.values()))
    (adapted,) = sgd.inner_steps(state, x, y, 1, create_graph=False)
    for (name, theta), gradient in zip(state.network_parameters.items(), gradients, strict=True):
        expected = theta - rates(state)[name] * gradient
        torch.testing.assert_close(adapted[name], expected, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("steps", [1, 2])
def test_it_has_the_slopes_of_its_loss(policy: BatchNormPolicy, steps: int) -> None:
    """Central differences, with respect to the parameters and to the rates."""
    sgd = learner("meta_sgd", policy, train_steps=steps)
    state, batch = double_state(sgd), double_batch(1)
    gradients, _ = sgd.meta_gradient(state, batch, 0)
    assert_slopes(lambda: float(sgd.meta_gradient(state, batch, 0)[1]["loss"]), state, gradients)
    moved = [name for name in gradients if name.startswith("meta.") and gradients[name].any()]
    # A convolution's bias before a batch norm changes nothing, and neither does its rate.
    assert len(moved) >= len(state.network.names) - 2


def test_rates_start_uniform_in_their_range() -> None:
    state = init(learner("meta_sgd", "support"), conv_network(width=16))
    alpha = rates(state)
    assert {n: a.shape for n, a in alpha.items()} == {n: p.shape for n, p in state.network_parameters.items()}
    values = torch.cat([a.flatten() for a in alpha.values()]).detach()
    assert 0.005 <= float(values.min()) < 0.006
    assert 0.099 < float(values.max()) <= 0.1
    assert float(values.mean()) == pytest.approx(0.0525, abs=0.003)
    assert float(values.std()) == pytest.approx(0.095 / 12**0.5, rel=0.05)


def test_the_range_must_be_one() -> None:
    with pytest.raises(ConfigError, match=r"^meta_learner.alpha_min=0.2: is above .*=0.1; use at most 0.1$"):
        learner("meta_sgd", "support", alpha_min=0.2)
