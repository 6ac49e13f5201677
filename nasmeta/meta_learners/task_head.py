"""Meta-learners that give each task a linear head of its own, from the embeddings of its support set.

Support images and queries must be normalized alike to be compared, so a task's images go through the body
together. `support` takes the statistics from the support images, `transductive` from all of them. In
training, `running` does what `transductive` does.
"""

from abc import abstractmethod
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.gradients import Gradients, gradient, task_loss, task_metrics
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.task import TaskBatch

Head = tuple[Tensor, Tensor]
"""The weight [T, outputs, features] and the bias [T, outputs] of each task's head."""


class TaskHead(MetaLearner):
    """A meta-learner whose heads are functions of embeddings.

    cosine: whether the heads see embeddings that are scaled to length one.
    """

    cosine = False

    @abstractmethod
    def _head(self, state: MetaState, support: Tensor, support_y: Tensor, outputs: int) -> Head:
        """The heads for T tasks: embeddings [T, N, features] and targets [T, N] or [T, N, outputs]."""

    def with_num_classes(self, state: MetaState, ways: int) -> MetaState:
        """A state for tasks of `ways` classes that shares network and parameters with `state`.

        `state` itself stays as it is.
        """
        if state.task.kind == "regression":
            return super().with_num_classes(state, ways)
        return replace(state, task=replace(state.task, outputs=ways))

    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        kind = state.task.kind
        ways = batch.classes.shape[1] if kind == "classification" else state.task.outputs
        outputs = self._outputs(state, batch.support_x, batch.support_y, batch.query_x, ways, test=False)
        loss = task_loss(kind, outputs.flatten(0, 1), batch.query_y.flatten(0, 1))
        return gradient(loss, state.parameters), task_metrics(kind, loss, outputs, batch.query_y)

    def _predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        with torch.no_grad():
            return self._outputs(state, support_x, support_y, query_x, state.task.outputs, test=True)

    def _adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        with torch.no_grad():
            statistics = self.statistics(state, shots=len(support_x), test=True)
            support = state.network.embed(state.parameters, support_x, statistics)
            weight, bias = self._head(state, support[None], support_y[None], state.task.outputs)
        body = self._body(state, state.parameters, support_x)
        return TaskNetwork(body, weight[0], bias[0], cosine=self.cosine)

    def _outputs(
        self,
        state: MetaState,
        support_x: Tensor,
        support_y: Tensor,
        query_x: Tensor,
        outputs: int,
        *,
        test: bool,
    ) -> Tensor:
        """The outputs for the queries of T tasks: [T, M, outputs]."""
        tasks, shots = support_x.shape[:2]
        statistics = self.statistics(state, shots=shots, tasks=tasks, test=test)
        embeddings = state.network.embed(state.parameters, all_examples(support_x, query_x), statistics)
        support, queries = embeddings.unflatten(0, (tasks, -1)).split([shots, query_x.shape[1]], 1)
        return self.answers(state, support, support_y, queries, outputs)

    def answers(
        self, state: MetaState, support: Tensor, support_y: Tensor, queries: Tensor, outputs: int
    ) -> Tensor:
        """The outputs [T, M, outputs] for embeddings: support [T, N, features], queries [T, M, features]."""
        weight, bias = self._head(state, support, support_y, outputs)
        if self.cosine:
            queries = F.normalize(queries, dim=-1)
        answers: Tensor = queries @ weight.mT + bias.unsqueeze(1)
        return answers

    def shares_body(self, state: MetaState) -> bool:
        """Whether the embedding network is the same for all tasks."""
        return self.batch_norm.needs_population or not state.network.norms


def all_examples(support_x: Tensor, query_x: Tensor) -> Tensor:
    """Joins [T, N, ...] and [T, M, ...] task by task: [T * (N + M), ...]; channels_last images stay so.

    The channels are moved last in shape too, because torch.cat has no channels_last for five dimensions. The
    channel of a grey image would otherwise get the stride of a channels-first one.
    """
    last = torch.cat([support_x.movedim(2, -1), query_x.movedim(2, -1)], 1)
    return last.flatten(0, 1).movedim(-1, 1)
