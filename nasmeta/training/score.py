"""The score of a meta-learned network: its accuracy, or its loss, on tasks that it has never seen."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from nasmeta.datasets.base import EpisodeSampler
from nasmeta.errors import Interrupted
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.gradients import batch_accuracy, task_loss
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.out_of_memory import with_fewer_tasks
from nasmeta.task import TaskBatch
from nasmeta.training.answers import Answers
from nasmeta.training.cuda_graphs import recorded_predict

Stop = Callable[[], bool]
"""True once a signal has asked the run to stop."""

TASKS_AT_ONCE = 20
"""Tasks drawn in one batch. It decides which tasks are drawn, so it never depends on memory or device."""


@dataclass(frozen=True)
class Score:
    """Means over tasks.

    accuracy: in [0, 1]; None for regression. loss: per query.
    per_task: [tasks], each task's accuracy, or its loss for regression.
    ci95: the half-width of the 95% interval of the mean of `per_task`.
    answers: those to all queries; None for regression.
    """

    accuracy: float | None
    loss: float
    ci95: float
    per_task: Tensor
    answers: Answers | None = None

    @property
    def tasks(self) -> int:
        return len(self.per_task)

    @property
    def value(self) -> float:
        """What a search maximizes: the accuracy, or minus the loss."""
        return -self.loss if self.accuracy is None else self.accuracy


def score(
    learner: MetaLearner,
    state: MetaState,
    sampler: EpisodeSampler,
    tasks: int,
    *,
    first_batch: int = 0,
    stop: Stop = lambda: False,
) -> Score:
    """Adapts to the sampler's first `tasks` tasks, which are the same for every caller, and averages.

    first_batch: leave out so many batches of TASKS_AT_ONCE tasks, and judge on those after them.

    If the tasks of a batch do not fit in memory together, fewer are computed at once from then on. Raises
    Interrupted once `stop()` is true, and DoesNotFit if not even one task fits.
    """
    predict = recorded_predict(learner, state)
    losses, accuracies, logits, labels = [], [], [], []
    for support_x, support_y, query_x, query_y, _ in batches(
        sampler, tasks, first_batch=first_batch, stop=stop
    ):
        attempt = partial(predict, [support_x, support_y, query_x])
        outputs = with_fewer_tasks(state.network, len(support_x), attempt)
        losses += [task_loss(state.task.kind, o, y) for o, y in zip(outputs, query_y, strict=True)]
        if state.task.kind == "classification":
            accuracies.append(batch_accuracy(outputs, query_y))
            logits.append(outputs.flatten(0, 1).clone())  # the next prediction may overwrite these
            labels.append(query_y.flatten())
    loss = torch.stack(losses).cpu().double()
    per_task = torch.cat(accuracies).cpu().double() if accuracies else loss
    accuracy = float(per_task.mean()) if accuracies else None
    answers = Answers(torch.cat(logits).cpu(), torch.cat(labels).cpu()) if logits else None
    return Score(accuracy, float(loss.mean()), ci95(per_task), per_task, answers)


def batches(
    sampler: EpisodeSampler, tasks: int, *, first_batch: int = 0, stop: Stop = lambda: False
) -> Iterator[TaskBatch]:
    """The sampler's first `tasks` tasks from `first_batch` on. Raises Interrupted once `stop()` is true."""
    for start in range(0, tasks, TASKS_AT_ONCE):
        if stop():
            raise Interrupted(f"stopped after {start} of {tasks} tasks")
        batch = sampler.batch(first_batch + start // TASKS_AT_ONCE, TASKS_AT_ONCE)
        yield TaskBatch(*(part[: tasks - start] for part in batch))


def ci95(values: Tensor) -> float:
    """The half-width of the normal 95% interval of the mean of `values` [n]; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    return 1.96 * float(values.std(correction=1)) / math.sqrt(len(values))
