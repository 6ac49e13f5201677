"""Whether a meta-gradient is the derivative of the meta-loss: central differences in float64."""

from dataclasses import replace

import torch
from torch import Tensor

from nasmeta import seeding
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.inner_loop import InnerLoop
from nasmeta.meta_learners.state import MetaState
from nasmeta.meta_learners.task_architecture import TaskArchitecture
from nasmeta.task import TaskBatch

STEP = 1e-6
"""How far the parameters move to each side, along a direction of length 1."""

LAST = 10**9
"""A meta-iteration at which losses that change during the training have reached their final form."""


def is_derivative(learner: MetaLearner) -> bool:
    """Whether the learner's meta-gradient is meant to be a derivative: not if it is a first-order one."""
    inner = learner.inner if isinstance(learner, TaskArchitecture) else learner
    return learner.descends and (learner.second_order or not isinstance(inner, InnerLoop))


def gradient_error(learner: MetaLearner, state: MetaState, batch: TaskBatch) -> float:
    """How far the meta-gradient is from the slope of the meta-loss, relative to the larger of the two.

    Both are taken along one random direction in the space of all parameters, with tasks computed side by side
    as in the run. Only for a learner of which `is_derivative` is true. `state` is changed: it is in float64
    afterwards, computed by torch's own kernels, neither compiled nor recorded.
    """
    state.network.module.double()
    execution = state.network.execution
    state.network.execution = replace(
        execution, compile=False, precision="fp32", cuda_graphs=False, kernels="torch"
    )
    state.parameters = {
        name: value.detach().double().requires_grad_() for name, value in state.parameters.items()
    }
    batch = TaskBatch(*(part.double() if part.is_floating_point() else part for part in batch))
    direction = _direction(state)
    gradients, _ = learner.meta_gradient(state, batch, LAST)
    expected = sum(float((gradients[name] * along).sum()) for name, along in direction.items())
    ahead, behind = (_loss(learner, state, batch, direction, side * STEP) for side in (1.0, -1.0))
    slope = (ahead - behind) / (2 * STEP)
    return abs(slope - expected) / max(abs(slope), abs(expected), 1e-12)


def _direction(state: MetaState) -> dict[str, Tensor]:
    """A random direction of length 1, with an entry for each parameter."""
    rng = seeding.stream(0, "gradient check")
    drawn = {
        name: torch.from_numpy(rng.standard_normal(tuple(p.shape))) for name, p in state.parameters.items()
    }
    length = torch.cat([along.flatten() for along in drawn.values()]).norm()
    return {name: (along / length).to(state.parameters[name].device) for name, along in drawn.items()}


def _loss(
    learner: MetaLearner, state: MetaState, batch: TaskBatch, direction: dict[str, Tensor], step: float
) -> float:
    """The meta-loss `step` away along `direction`; the parameters are as before afterwards."""
    before = state.parameters
    state.parameters = {
        name: (p.detach() + step * direction[name]).requires_grad_() for name, p in before.items()
    }
    try:
        _, metrics = learner.meta_gradient(state, batch, LAST)
    finally:
        state.parameters = before
    return float(metrics["loss"])
