"""Fine-tuning against torch's own modules and optimizer."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasmeta.meta_learners.base import adopt_population
from nasmeta.meta_learners.state import MetaState
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from tests.meta_learners.options import learner

STEPS, RATE = 3, 0.2


@pytest.fixture
def batch() -> TaskBatch:
    return BlobSampler("valid", shot=2, dtype=torch.float64).batch(0, 1)


def with_a_new_head(state: MetaState) -> nn.Module:
    """An ordinary network with the state's weights and a head of zeros."""
    module = conv_network(width=3).double()
    module.load_state_dict({n: p.detach() for n, p in state.network_parameters.items()}, strict=False)
    nn.init.zeros_(module.head.weight)
    nn.init.zeros_(module.head.bias)
    return module


def descend(forward: nn.Module, module: nn.Module, x: Tensor, y: Tensor) -> None:
    optimizer = torch.optim.SGD(module.parameters(), RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(forward(x), y).backward()
        optimizer.step()


def test_the_head_alone(batch: TaskBatch) -> None:
    finetune = learner("finetune", "transductive", test_steps=STEPS, inner_lr=RATE)
    state = init(finetune, conv_network(width=3).double())
    module = with_a_new_head(state)
    n = batch.support_y.shape[1]
    embeddings = module.body(torch.cat([batch.support_x[0], batch.query_x[0]])).detach()
    descend(module.head, module.head, embeddings[:n], batch.support_y[0])
    torch.testing.assert_close(finetune.predict(state, *batch[:3])[0], module.head(embeddings[n:]).detach())


def test_the_whole_network(batch: TaskBatch) -> None:
    finetune = learner("finetune", "transductive", test_steps=STEPS, inner_lr=RATE, adapted_part="all")
    state = init(finetune, conv_network(width=3).double())
    module = with_a_new_head(state)
    before = deepcopy(module)
    descend(module, module, batch.support_x[0], batch.support_y[0])
    assert not torch.equal(module.body[0].weight, before.body[0].weight)
    got = finetune.predict(state, *batch[:3])[0]
    torch.testing.assert_close(got, module(batch.query_x[0]).detach())


def test_running_statistics_in_eval_mode(batch: TaskBatch) -> None:
    finetune = learner("finetune", "running", test_steps=STEPS, inner_lr=RATE)
    state = init(finetune, conv_network(width=3).double())
    adopt_population(finetune, state, [BlobSampler("train", dtype=torch.float64).batch(0, 2)])
    module = with_a_new_head(state).eval()
    for name in ("body.1", "body.5"):
        module.get_submodule(name).running_mean.copy_(state.statistics[f"{name}.mean"])
        module.get_submodule(name).running_var.copy_(state.statistics[f"{name}.variance"])
    support, query = module.body(batch.support_x[0]).detach(), module.body(batch.query_x[0]).detach()
    descend(module.head, module.head, support, batch.support_y[0])
    torch.testing.assert_close(finetune.predict(state, *batch[:3])[0], module.head(query).detach())


def test_other_numbers_of_classes_at_test_time() -> None:
    finetune = learner("finetune", "support")
    state = finetune.with_num_classes(init(finetune, conv_network()), 7)
    assert finetune.predict(state, *BlobSampler("valid", way=7).batch(0, 1)[:3]).shape[-1] == 7


def test_regression_keeps_its_head() -> None:
    """There is no classifier beside the network, and adaptation starts from the trained head."""
    task = TaskSpec("regression", (1,), 1)
    finetune = learner("finetune", "support", test_steps=1, inner_lr=1e-9)
    module = conv_network(outputs=1)
    module.body = nn.Linear(1, 8 * 16)
    state = finetune.init(module, task)
    assert not [name for name in state.parameters if name.startswith("meta.")]
    x = torch.tensor([[[0.5], [1.0]]])
    expected = state.network(state.parameters, x[0]).detach()
    torch.testing.assert_close(finetune.predict(state, x, torch.zeros(1, 2, 1), x)[0], expected)
