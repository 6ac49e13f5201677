"""Sine waves: after meta-training, adaptation must be worth something."""

import numpy as np
import pytest
import torch
from torch import nn

from nasmeta import seeding
from nasmeta.datasets.base import EpisodeSampler
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.testing.meta_learners import train
from nasmeta.training.optimizers import adam
from nasmeta.training.score import score
from tests.meta_learners.options import learner

TASK = TaskSpec("regression", (1,), 1)


class Sines(EpisodeSampler):
    """Ten support and ten query points of a * sin(x - p); never two batches alike."""

    def __init__(self, name: str) -> None:
        self.name = name

    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        rng = seeding.stream(0, "sines", self.name, iteration)
        amplitude = rng.uniform(0.5, 4.0, (tasks, 1, 1))
        phase = rng.uniform(0.0, 3.1, (tasks, 1, 1))
        x = rng.uniform(-5.0, 5.0, (tasks, 20, 1))
        y = amplitude * np.sin(x - phase)
        x, y = torch.from_numpy(x).float(), torch.from_numpy(y).float()
        return TaskBatch(x[:, :10], y[:, :10], x[:, 10:], y[:, 10:], torch.zeros(tasks, 0, dtype=torch.int64))


def mlp() -> FewShotNetwork:
    with seeding.torch_stream(0, "testing", "mlp"):
        body = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU())
        return FewShotNetwork(body, nn.Linear(40, 1))


def unadapted_loss(state: MetaState, batch: TaskBatch) -> float:
    outputs = state.network(state.parameters, batch.query_x.flatten(0, 1)).detach()
    return float(nn.functional.mse_loss(outputs, batch.query_y.flatten(0, 1)))


@pytest.mark.parametrize(
    "name, options",
    [
        ("maml", {"inner_lr": 0.03, "train_steps": 5, "test_steps": 5}),
        ("reptile", {"inner_optimizer": "sgd", "inner_lr": 0.02, "train_steps": 10, "test_steps": 20}),
        ("meta_sgd", {"train_steps": 3, "test_steps": 3}),
        ("ridge", {"lambda_init": 0.1}),
        ("finetune", {"inner_lr": 0.01, "adapted_part": "all", "test_steps": 100}),
    ],
)
def test_adaptation_pays(name: str, options: dict[str, object]) -> None:
    """Adapted to ten points, the error falls by a fifth or more."""
    chosen: MetaLearner = learner(name, "support", **options)
    chosen.check(TASK)
    state = chosen.init(mlp(), TASK)
    optimizer = adam(lr=0.005, beta1=0.9, beta2=0.999, weight_decay=0.0, schedule="cosine", warmup=0.0)
    train(chosen, state, Sines("train"), optimizer, iterations=100)
    adapted = score(chosen, state, Sines("test"), tasks=40)
    assert adapted.accuracy is None
    unadapted = sum(unadapted_loss(state, Sines("test").batch(i, 20)) for i in range(2)) / 2
    assert adapted.loss < 0.8 * unadapted, f"{unadapted:.3f} -> {adapted.loss:.3f}"
