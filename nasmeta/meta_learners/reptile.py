"""Reptile (Nichol, Achiam & Schulman 2018, arXiv:1803.02999).

Trains on a task for a few steps and moves the initialization towards where that led: the meta-gradient
is theta - mean over tasks of theta'_task (algorithm 2 there, "batched"), for any outer optimizer. No
second derivatives, no query loss: in meta-training a task's support and query images are one training
set, cut into minibatches. Minibatches walk round the set in a fixed order that alternates the classes;
the images of an episode are in random order, so this is drawing without replacement, balanced by class.
Deviation: the inner Adam starts fresh in every task (the authors' code carries its second moments over).
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nasmeta.meta_learners.base import Mean, MetaLearner, MetaState, Metrics, batch_accuracy, named
from nasmeta.meta_learners.functional import Parameters, task_loss
from nasmeta.meta_learners.normalization import Policy
from nasmeta.task import TaskBatch, TaskSpec


class Reptile(MetaLearner):
    """See the module. `inner_batch` is the size of a minibatch; `adam_beta1` is 0 in the paper."""

    def __init__(
        self,
        *,
        train_steps: Annotated[int, Field(ge=1)],
        test_steps: Annotated[int, Field(ge=1)],
        inner_optimizer: Literal["sgd", "adam"],
        inner_lr: Annotated[float, Field(gt=0)],
        inner_batch: Annotated[int, Field(ge=1)],
        adam_beta1: Annotated[float, Field(ge=0, lt=1)],
        batch_norm: Policy,
    ) -> None:
        super().__init__(batch_norm=batch_norm)
        self.train_steps, self.test_steps = train_steps, test_steps
        self.inner_optimizer, self.inner_lr = inner_optimizer, inner_lr
        self.inner_batch, self.adam_beta1 = inner_batch, adam_beta1

    def meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> tuple[Parameters, Metrics]:
        names = list(state.network.names)
        start = [state.parameters[name].detach() for name in names]
        adapted, metrics = Mean(), Mean()
        for support_x, support_y, query_x, query_y in zip(*batch[:4], strict=True):
            sets = ((support_x, support_y), (query_x, query_y))
            parameters, last = self.adapt(
                state, minibatches(sets, state.task, self.inner_batch), self.train_steps
            )
            adapted.add(parameters[name] for name in names)
            metrics.add(last)
        gradients = dict(zip(names, torch._foreach_sub(start, adapted.get()), strict=True))
        return gradients, named(metrics.get())

    def adapt(
        self, state: MetaState, batches: Iterator[tuple[Tensor, Tensor]], steps: int
    ) -> tuple[Parameters, tuple[Tensor, ...]]:
        """The network's parameters after `steps` minibatches of one task; and the last one's metrics."""
        parameters = {
            name: p.detach().clone().requires_grad_() for name, p in state.network_parameters.items()
        }
        optimizer = self._optimizer(list(parameters.values()))
        for _ in range(steps):
            x, y = next(batches)
            outputs = state.network(parameters, x)
            loss = task_loss(state.task.kind, outputs, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if state.task.kind == "regression":
            return parameters, (loss,)
        return parameters, (loss, batch_accuracy(outputs, y))

    def _optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        if self.inner_optimizer == "adam":
            return torch.optim.Adam(parameters, self.inner_lr, betas=(self.adam_beta1, 0.999), foreach=True)
        return torch.optim.SGD(parameters, self.inner_lr, foreach=True)

    def predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        outputs = []
        for task_x, task_y, task_query in zip(support_x, support_y, query_x, strict=True):
            batches = minibatches(((task_x, task_y),), state.task, self.inner_batch)
            parameters, _ = self.adapt(state, batches, self.test_steps)
            with torch.no_grad():
                outputs.append(self.query_outputs(state, parameters, task_x, task_query, test=True))
        return torch.stack(outputs)


def minibatches(
    sets: tuple[tuple[Tensor, Tensor], ...], task: TaskSpec, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless minibatches of `size` examples of the sets (x, y) of one task, round and round.

    Sets are ordered by class as in TaskBatch. The walk takes one example of each class in turn (a set
    whose classes differ in size is walked as it stands); a size of the whole or more gives all examples
    every time.
    """
    ways = task.outputs if task.kind == "classification" else 1
    x = torch.cat([_by_example(x, ways) for x, _ in sets])
    y = torch.cat([_by_example(y, ways) for _, y in sets])
    n = len(y)
    if size >= n:
        while True:
            yield x, y
    start = 0
    while True:
        end = start + size
        if end <= n:
            yield x[start:end], y[start:end]
        else:
            yield torch.cat([x[start:], x[: end - n]]), torch.cat([y[start:], y[: end - n]])
        start = end % n


def _by_example(values: Tensor, ways: int) -> Tensor:
    """[ways * k, ...] ordered by class -> the same examples, one of each class in turn."""
    if len(values) % ways or len(values) == ways:
        return values
    order = torch.arange(len(values), device=values.device).unflatten(0, (ways, -1)).T.flatten()
    if values.dim() != 4:
        return values[order]
    # Indexing would leave channels_last memory; in [n, H, W, C] order it is plain memory.
    return values.permute(0, 2, 3, 1)[order].permute(0, 3, 1, 2)
