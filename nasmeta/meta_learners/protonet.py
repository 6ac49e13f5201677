"""Prototypical networks (Snell, Swersky & Zemel 2017, arXiv:1703.05175).

A class's prototype is the mean embedding of its support images (eq. 1). A query's logits are minus its
squared Euclidean distances to the prototypes (eq. 2). The paper finds this better than cosine similarity, and
better still if training episodes have more classes than test episodes (`train_way`, section 2.6 there). Only
the body is used. `cosine` and the temperature follow later practice (Chen et al. 2021, "Meta-Baseline",
eq. 3). With `learn_temperature`, the logarithm of the temperature is learned.

Normalization: prototypes and queries must be normalized alike to be compared. A task's support images and
queries therefore go through the body together. `support` takes the statistics from the support images,
`transductive` from both. In training, `running` does as `transductive`.
"""

from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nasmeta.meta_learners.base import Gradients, MetaLearner, MetaState, gradient, task_metrics
from nasmeta.networks.batch_norm import Policy
from nasmeta.networks.network import Parameters, all_examples
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.task import TaskBatch

SCALE = {"euclidean": 1.0, "cosine": 10.0}
"""The temperature's initial value: the paper's for distances, Meta-Baseline's for cosines."""


class ProtoNet(MetaLearner):
    """Prototypical networks.

    distance: euclidean (squared) or cosine.
    learn_temperature: whether the factor of the logits is meta-learned; see SCALE for its initial value.
    train_way: classes of a training episode, at least 2 (None: as many as a test task has).
    """

    kinds = ("classification",)
    refusal = "a prototype is the mean embedding of a class, and regression has none"

    def __init__(
        self,
        *,
        distance: Literal["euclidean", "cosine"],
        learn_temperature: bool,
        train_way: Annotated[int, Field(ge=2)] | None,
        batch_norm: Policy,
    ) -> None:
        super().__init__(batch_norm=batch_norm)
        self.distance, self.learn_temperature = distance, learn_temperature
        self.train_way = train_way

    def extra_parameters(self, state: MetaState) -> Parameters:
        if not self.learn_temperature:
            return {}
        return {"log_temperature": torch.tensor(SCALE[self.distance]).log()}

    def with_num_classes(self, state: MetaState, ways: int) -> MetaState:
        state.task = replace(state.task, outputs=ways)
        return state

    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        ways = batch.classes.shape[1]
        logits = self._logits(state, batch.support_x, batch.support_y, batch.query_x, ways, test=False)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.query_y.flatten())
        return gradient(loss, state.parameters), task_metrics("classification", loss, logits, batch.query_y)

    @torch.no_grad()
    def _predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        return self._logits(state, support_x, support_y, query_x, state.task.outputs, test=True)

    @torch.no_grad()
    def _adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        """A linear head: `_similarity` is linear in a query's embedding, or for cosines in its direction."""
        statistics = self.joint_statistics(state, 1, len(support_x), test=True)
        support = state.network.embed(state.parameters, support_x, statistics)
        centres = prototypes(support[None], support_y[None], state.task.outputs)[0]
        cosine = self.distance == "cosine"
        weight = F.normalize(centres, dim=-1) if cosine else 2 * centres
        bias = torch.zeros_like(centres[:, 0]) if cosine else -centres.square().sum(-1)
        scale = self._temperature(state)
        body = self._body(state, state.parameters, support_x)
        return TaskNetwork(body, scale * weight, scale * bias, cosine=cosine)

    def _logits(
        self,
        state: MetaState,
        support_x: Tensor,
        support_y: Tensor,
        query_x: Tensor,
        ways: int,
        *,
        test: bool,
    ) -> Tensor:
        tasks, shots = support_y.shape
        images = all_examples(support_x, query_x)
        statistics = self.joint_statistics(state, tasks, shots, test=test)
        embeddings = state.network.embed(state.parameters, images, statistics).unflatten(0, (tasks, -1))
        support, queries = embeddings[:, :shots], embeddings[:, shots:]
        return self._temperature(state) * self._similarity(prototypes(support, support_y, ways), queries)

    def _temperature(self, state: MetaState) -> Tensor | float:
        if self.learn_temperature:
            return state.parameters["meta.log_temperature"].exp()
        return SCALE[self.distance]

    def _similarity(self, centres: Tensor, queries: Tensor) -> Tensor:
        """centres [T, way, features], queries [T, M, features] -> [T, M, way]."""
        if self.distance == "cosine":
            return F.normalize(queries, dim=-1) @ F.normalize(centres, dim=-1).mT
        # -|q - c|^2 without its |q|^2, which is the same for all classes and does not change the softmax.
        return 2 * queries @ centres.mT - centres.square().sum(-1).unsqueeze(1)


def prototypes(support: Tensor, labels: Tensor, ways: int) -> Tensor:
    """The mean embedding of each class: [T, N, features], [T, N] -> [T, ways, features]."""
    classes = torch.arange(ways, device=labels.device).unsqueeze(-1)
    member = (labels.unsqueeze(1) == classes).to(support.dtype)  # [T, ways, N]
    return member @ support / member.sum(-1, keepdim=True)
