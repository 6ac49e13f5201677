"""Meta-learners whose inner loop changes the network's parameters."""

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Self

import torch
from torch import Tensor

from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.network import Parameters
from nasmeta.networks.task_network import TaskNetwork


class InnerLoop(MetaLearner):
    """A meta-learner that adapts the network's parameters to a task by steps.

    test_steps: how many for a test task. For T tasks at once, tensors have one more dimension, T, in front,
    and so have the adapted parameters.
    """

    test_steps: int

    @abstractmethod
    def adapted_parameters(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> Parameters:
        """The network's parameters after the inner loop of a test task: support_x [N, ...], support_y [N]."""

    def with_test_steps(self, steps: int) -> Self:
        """A copy of the learner whose inner loop takes `steps` steps on a test task."""
        learner = copy(self)
        learner.test_steps = steps
        return learner

    def _predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        tasks = len(support_x)
        support_x, support_y, query_x = squeezed_if_single((support_x, support_y, query_x))
        parameters = self.adapted_parameters(state, support_x, support_y)
        with torch.no_grad():
            outputs = self.query_outputs(state, parameters, support_x, query_x, test=True)
        return outputs.reshape(tasks, *outputs.shape[-2:])

    def _adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        return self.network_of(state, self.adapted_parameters(state, support_x, support_y), support_x)


def squeezed_if_single(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Tensors [T, ...] without their first dimension if they hold a single task."""
    return tuple(tensor[0] for tensor in tensors) if len(tensors[0]) == 1 else tuple(tensors)


def tasks_in(state: MetaState, x: Tensor) -> int | None:
    """The number of tasks in x [T, n, ...]; None if x [n, ...] is of a single task."""
    return None if x.dim() == 1 + len(state.task.input_shape) else len(x)


def expanded_per_task(state: MetaState, x: Tensor) -> Parameters:
    """The network's parameters, repeated for every task if x holds several."""
    tasks = tasks_in(state, x)
    if tasks is None:
        return state.network_parameters
    return {name: p.expand(tasks, *p.shape) for name, p in state.network_parameters.items()}
