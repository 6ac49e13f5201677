"""Means and intervals over tasks."""

import pytest
import torch
from torch import Tensor

from nasmeta.datasets.base import EpisodeSampler
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.gradients import Metrics, batch_accuracy
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.execution import Execution
from nasmeta.networks.network import Parameters
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from nasmeta.training.score import ci95, score
from tests.meta_learners.options import learner


class Scripted(MetaLearner):
    """Answers what the queries say."""

    def _meta_gradient(
        self, state: MetaState, batch: TaskBatch, iteration: int
    ) -> tuple[Parameters, Metrics]:
        raise NotImplementedError

    def _predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        return query_x

    def _adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        raise NotImplementedError


class Script(EpisodeSampler):
    """Task i of all: `outputs[i]` [M, outputs] are the answers, `targets[i]` the truth."""

    def __init__(self, outputs: Tensor, targets: Tensor) -> None:
        self.outputs, self.targets = outputs, targets

    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        part = slice(iteration * tasks, (iteration + 1) * tasks)
        x, y = self.outputs[part], self.targets[part]
        return TaskBatch(x, y, x, y, torch.zeros(len(x), 2, dtype=torch.int64))


def scored(task: TaskSpec, outputs: Tensor, targets: Tensor, tasks: int):
    scripted = Scripted(batch_norm=BatchNormPolicy.SUPPORT)
    state = scripted.init(torch.nn.Linear(1, 1), task)
    return score(scripted, state, Script(outputs, targets), tasks)


def test_classification_by_hand() -> None:
    """45 tasks of 4 queries, the first k % 5 of task k right."""
    right = torch.tensor([[query < task % 5 for query in range(4)] for task in range(60)])
    outputs = torch.stack([right.float(), (~right).float()], -1)
    result = scored(
        TaskSpec("classification", (1,), 2, 2), outputs, torch.zeros(60, 4, dtype=torch.int64), 45
    )
    expected = torch.tensor([task % 5 / 4 for task in range(45)], dtype=torch.float64)
    assert result.tasks == 45
    assert result.per_task.tolist() == expected.tolist()
    assert result.accuracy == result.value == pytest.approx(0.5)
    assert result.ci95 == pytest.approx(1.96 * float(expected.std()) / 45**0.5)
    e = torch.tensor(1.0).exp()
    assert result.loss == pytest.approx(float(0.5 * (1 + 1 / e).log() + 0.5 * (1 + e).log()), rel=1e-6)


def test_regression_by_hand() -> None:
    outputs = torch.arange(1.0, 31.0).view(30, 1, 1).repeat(1, 2, 1)
    result = scored(TaskSpec("regression", (1,), 1), outputs, torch.zeros(30, 2, 1), 3)
    assert result.accuracy is None
    assert result.per_task.tolist() == [1.0, 4.0, 9.0]
    assert result.loss == -result.value == pytest.approx(14 / 3)


def test_a_single_task_has_no_interval() -> None:
    assert ci95(torch.tensor([0.7], dtype=torch.float64)) == 0.0


def test_fewer_tasks_are_the_first_of_more() -> None:
    protonet = learner("protonet", "support")
    state = init(protonet, conv_network())
    few, many = (score(protonet, state, BlobSampler("valid"), tasks) for tasks in (25, 42))
    assert torch.equal(few.per_task, many.per_task[:25])


def test_batch_accuracy() -> None:
    logits = torch.tensor([[[0.1, 0.2], [3.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    assert batch_accuracy(logits, torch.tensor([[1, 1], [1, 1]])).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("fits", [1, 7])
def test_a_batch_that_does_not_fit_is_cut(fits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, sampler = learner("fomaml", "support"), BlobSampler("valid")
    whole = score(chosen, together(chosen), sampler, 30)
    inner, tried = chosen._predict, []

    def small(state: MetaState, support_x: Tensor, *rest: Tensor) -> Tensor:
        tried.append(len(support_x))
        if len(support_x) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(state, support_x, *rest)

    monkeypatch.setattr(chosen, "_predict", small)
    state = together(chosen)
    cut = score(chosen, state, sampler, 30)
    torch.testing.assert_close(cut.per_task, whole.per_task)
    assert sum(count for count in tried if count <= fits) == 30
    assert [count for count in tried if count > fits] == [n for n in (20, 10, 5, 2) if n > fits]


def together(chosen: MetaLearner) -> MetaState:
    state = init(chosen, conv_network())
    state.network.execution = Execution("vmap")
    return state
