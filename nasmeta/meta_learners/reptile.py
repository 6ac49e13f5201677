"""Reptile (Nichol, Achiam & Schulman 2018, arXiv:1803.02999).

Trains on a task for a few steps and moves the initialization towards the result. The meta-gradient is theta
minus the mean over tasks of theta'_task (algorithm 2 there, "batched"), for any outer optimizer. There are no
second derivatives and there is no query loss: in meta-training, a task's support and query images are one
training set. Minibatches go round this set in a fixed order that alternates the classes. The images of an
episode are in random order, so this draws without replacement, balanced by class.
Deviation: the inner Adam starts fresh in every task (the authors' code carries its second moments over).
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nasmeta.meta_learners.gradients import Gradients, Mean, Metrics, gradient, task_loss, task_metrics
from nasmeta.meta_learners.inner_loop import InnerLoop, expanded_per_task, squeezed_if_single, tasks_in
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.network import Parameters
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.runtime import plain_optimizers
from nasmeta.task import TaskBatch, TaskSpec

Sets = tuple[tuple[Tensor, Tensor], ...]


class Reptile(InnerLoop):
    """Reptile; an inner step is a step of the inner optimizer on one minibatch.

    train_steps, test_steps: inner steps in meta-training and on a test task, at least 1.
    inner_optimizer: sgd or adam.
    inner_lr: its learning rate, above 0.
    inner_batch: examples in a minibatch, at least 1.
    adam_beta1: Adam's first coefficient, in [0, 1); 0 in the paper.
    """

    descends = False  # a pseudo-gradient

    def __init__(
        self,
        *,
        train_steps: Annotated[int, Field(ge=1)],
        test_steps: Annotated[int, Field(ge=1)],
        inner_optimizer: Literal["sgd", "adam"],
        inner_lr: Annotated[float, Field(gt=0)],
        inner_batch: Annotated[int, Field(ge=1)],
        adam_beta1: Annotated[float, Field(ge=0, lt=1)],
        batch_norm: BatchNormPolicy,
    ) -> None:
        super().__init__(batch_norm=batch_norm)
        self.train_steps, self.test_steps = train_steps, test_steps
        self.inner_optimizer, self.inner_lr = inner_optimizer, inner_lr
        self.inner_batch, self.adam_beta1 = inner_batch, adam_beta1

    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        support_x, support_y, query_x, query_y = squeezed_if_single(batch[:4])
        sets = ((support_x, support_y), (query_x, query_y))
        adapted, metrics = self._inner_loop(state, sets, self.train_steps)
        gradients = {}
        for name, start in state.network_parameters.items():
            end = adapted[name].detach()
            gradients[name] = start.detach() - (end if end.dim() == start.dim() else end.mean(0))
        return gradients, metrics

    def _inner_loop(self, state: MetaState, sets: Sets, steps: int) -> tuple[Parameters, Metrics]:
        """The network's parameters after `steps` minibatches, and the metrics of the last minibatch.

        sets: (x [n, ...], y [n, ...]) of one task, or of T tasks with one more dimension in front. The
        parameters are then stacked, and the metrics are means.
        """
        x = sets[0][0]
        parameters = {n: p.detach().clone().requires_grad_() for n, p in expanded_per_task(state, x).items()}
        trained = {n: p for n, p in parameters.items() if state.inner_scale.get(n, 1.0) != 0}
        # In the parameters' memory layout, as fused kernels expect.
        slopes = {name: torch.empty_like(p) for name, p in trained.items()}
        for name, parameter in trained.items():
            parameter.grad = slopes[name]
        optimizer = self._optimizer(trained, state.inner_scale)
        for step, (x, y) in enumerate(islice(minibatches(sets, state.task, self.inner_batch), steps)):
            state.network.anneal(step / max(steps - 1, 1))
            outputs = state.network(parameters, x)
            loss = task_loss(state.task.kind, outputs, y)
            for name, slope in gradient(loss, trained).items():
                slopes[name].copy_(slope)
            optimizer.step()
        state.network.anneal(1.0)
        return parameters, task_metrics(state.task.kind, loss / (tasks_in(state, x) or 1), outputs, y)

    def _optimizer(self, trained: Parameters, scale: Mapping[str, float]) -> torch.optim.Optimizer:
        """The inner optimizer, with one parameter group for each factor of the learning rate."""
        factors = dict.fromkeys(scale.get(name, 1.0) for name in trained)
        groups = [
            {
                "params": [p for n, p in trained.items() if scale.get(n, 1.0) == factor],
                "lr": self.inner_lr * factor,
            }
            for factor in factors
        ]
        if self.inner_optimizer == "adam":
            # One kernel instead of a dozen: a sixth of a step's time on a CPU. The meta device has none.
            device = next(iter(trained.values())).device.type
            fused = device in ("cpu", "cuda")
            return plain_optimizers.Adam(
                groups,
                betas=(self.adam_beta1, 0.999),
                fused=fused,
                foreach=not fused,
                capturable=device == "cuda",
            )
        return plain_optimizers.SGD(groups, foreach=True)

    def adapted_parameters(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> Parameters:
        return self._inner_loop(state, ((support_x, support_y),), self.test_steps)[0]

    def frozen_parameter_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """As in the base class, of first order; tasks adapt to their support sets alone, in `train_steps`."""
        held = [n for n in state.network.names if state.inner_scale.get(n, 1.0) == 0]
        gradients, metrics = Mean(), Mean()
        for support_x, support_y, query_x, query_y in zip(*batch[:4], strict=True):
            parameters, _ = self._inner_loop(state, ((support_x, support_y),), self.train_steps)
            outputs = self.query_outputs(state, parameters, support_x, query_x, test=False)
            loss = task_loss(state.task.kind, outputs, query_y)
            gradients.add(gradient(loss, {name: parameters[name] for name in held}), 1)
            metrics.add(task_metrics(state.task.kind, loss, outputs, query_y), 1)
        return gradients.get(), metrics.get()


def minibatches(sets: Sets, task: TaskSpec, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless minibatches of `size` examples from the sets (x, y) of one task, which are cycled through.

    Sets are ordered by class, as in TaskBatch. Minibatches take one example of each class in turn; a class
    without any left is passed over. If there are at most `size` examples, every minibatch has all of them.
    For T tasks at once, tensors have one more dimension, T, in front, and classes have the same size.
    """
    classes = task.kind == "classification"
    axis = sets[0][1].dim() - (1 if classes else 2)
    if classes:
        sets = tuple(_by_example(x, y, task.outputs, axis) for x, y in sets)
    x, y = (torch.cat(parts, axis) for parts in zip(*sets, strict=True))
    n = y.shape[axis]
    if size >= n:
        while True:
            yield x, y
    start = 0
    while True:
        yield _cut(x, start, size, axis), _cut(y, start, size, axis)
        start = (start + size) % n


def _cut(values: Tensor, start: int, size: int, axis: int) -> Tensor:
    """`size` of the values from `start` on, round and round."""
    left = values.shape[axis] - start
    if size <= left:
        part = values.narrow(axis, start, size)
        return part.contiguous() if axis else part  # stacked tasks lie one after the other
    return torch.cat([values.narrow(axis, start, left), values.narrow(axis, 0, size - left)], axis)


def _by_example(x: Tensor, y: Tensor, ways: int, axis: int) -> tuple[Tensor, Tensor]:
    """A set [..., n, ...] that is ordered by class, with one example of each class in turn."""
    n = y.shape[axis]
    if n == ways:
        return x, y
    if axis:
        order = torch.arange(n, device=y.device).unflatten(0, (ways, -1)).T.flatten()
    else:
        of_class = y[:, None] == torch.arange(ways, device=y.device)
        rank = of_class.cumsum(0).gather(1, y[:, None]).squeeze(1)  # among the examples of its class
        order = (rank * ways + y).argsort()
    if x.dim() != 4 + axis:
        return x.index_select(axis, order), y.index_select(axis, order)
    # Indexing would lose the channels_last layout, so it is done in [n, H, W, C] order.
    return x.movedim(-3, -1).index_select(axis, order).movedim(-1, -3), y.index_select(axis, order)
