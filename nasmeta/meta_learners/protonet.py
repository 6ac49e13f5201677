"""Prototypical networks (Snell, Swersky & Zemel 2017, arXiv:1703.05175).

A class's prototype is the mean embedding of its support images (eq. 1). A query's logits are minus its
squared Euclidean distances to the prototypes (eq. 2). The paper finds this better than cosine similarity, and
better still if training episodes have more classes than test episodes (`train_way`, section 2.6 there). Only
the body is used. `cosine` and the temperature follow later practice (Chen et al. 2021, "Meta-Baseline",
eq. 3). With `learn_temperature`, the logarithm of the temperature is learned.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nasmeta.meta_learners.state import MetaState
from nasmeta.meta_learners.task_head import Head, TaskHead
from nasmeta.networks.network import Parameters
from nasmeta.networks.policy import BatchNormPolicy

INITIAL_TEMPERATURE = {"euclidean": 1.0, "cosine": 10.0}
"""The temperature's initial value: the paper's for distances, Meta-Baseline's for cosines."""


class ProtoNet(TaskHead):
    """Prototypical networks.

    distance: euclidean (squared) or cosine.
    learn_temperature: whether the factor of the logits is meta-learned, from INITIAL_TEMPERATURE on.
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
        batch_norm: BatchNormPolicy,
    ) -> None:
        super().__init__(batch_norm=batch_norm)
        self.distance, self.learn_temperature = distance, learn_temperature
        self.train_way, self.cosine = train_way, distance == "cosine"
        self.distance_logits = not self.cosine

    def extra_parameters(self, state: MetaState) -> Parameters:
        if not self.learn_temperature:
            return {}
        return {"log_temperature": torch.tensor(INITIAL_TEMPERATURE[self.distance]).log()}

    def _head(self, state: MetaState, support: Tensor, support_y: Tensor, outputs: int) -> Head:
        """-|q - c|^2 is linear in q without its |q|^2, which does not change the softmax over classes c."""
        centres = prototypes(support, support_y, outputs)
        if self.cosine:
            weight, bias = F.normalize(centres, dim=-1), torch.zeros_like(centres[..., 0])
        else:
            weight, bias = 2 * centres, -centres.square().sum(-1)
        scale = self.sharpness(state)
        return scale * weight, scale * bias

    def sharpness(self, state: MetaState) -> Tensor | float:
        """What minus the squared distances, or the cosines, are multiplied by."""
        if self.learn_temperature:
            return state.parameters["meta.log_temperature"].exp()
        return INITIAL_TEMPERATURE[self.distance]


def prototypes(support: Tensor, labels: Tensor, ways: int) -> Tensor:
    """The mean embedding of each class: [T, N, features], [T, N] -> [T, ways, features]."""
    classes = torch.arange(ways, device=labels.device).unsqueeze(-1)
    member = (labels.unsqueeze(1) == classes).to(support.dtype)  # [T, ways, N]
    return member @ support / member.sum(-1, keepdim=True)
