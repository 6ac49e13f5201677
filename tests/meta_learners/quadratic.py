"""A few-shot regression whose losses are parabolas, so that every meta-gradient has a closed form.

The network is x -> w * x with one weight w and a bias that stays zero. Support inputs are +s and -s, query
inputs are +q and -q, and all targets are 0. With s^2 = a / 2, the support loss (a mean squared error) is
a * w^2 / 2. With q^2 = b / 2, the query loss is b * w^2 / 2. K inner steps of rate r turn w into c^K * w with
c = 1 - r * a. MAML's gradient is therefore b * c^(2K) * w, first-order MAML's is b * c^K * w, and Reptile's
direction is (1 - c^K) * w.
"""

import math

import torch
from torch import Tensor, nn

from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskBatch, TaskSpec

TASK = TaskSpec("regression", (1,), 1)


def state(learner: MetaLearner, weight: float, *, in_body: bool = False) -> MetaState:
    """The state of x -> weight * x in float64; the weight is the head's, or the body's if `in_body`."""
    body = nn.Linear(1, 1) if in_body else nn.Identity()
    module = FewShotNetwork(body, nn.Linear(1, 1)).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.head.weight.fill_(1.0 if in_body else weight)
        if isinstance(body, nn.Linear):
            body.weight.fill_(weight)
    return learner.init(module, TASK)


def weight_name(*, in_body: bool) -> str:
    """The name of the one weight w."""
    return "body.weight" if in_body else "head.weight"


def batch(a: float, b: float) -> TaskBatch:
    """One task whose support loss is a * w^2 / 2 and whose query loss is b * w^2 / 2."""
    support, query = _inputs(a), _inputs(b)
    classes = torch.zeros(1, 0, dtype=torch.int64)
    return TaskBatch(support, torch.zeros_like(support), query, torch.zeros_like(query), classes)


def _inputs(curvature: float) -> Tensor:
    return torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64) * math.sqrt(curvature / 2)
