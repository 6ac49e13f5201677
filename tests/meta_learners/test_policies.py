"""What a query's prediction may depend on: its task's support set, and under one policy its companions."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import nasmeta
from nasmeta.meta_learners.base import MetaLearner, adopt_population
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.policy import BatchNormPolicy, Statistics
from nasmeta.task import TaskBatch
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from tests.meta_learners.options import VARIANTS, short


def group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(2, channels)


def ready(
    name: str, policy: BatchNormPolicy, norm: Callable[[int], nn.Module] = nn.BatchNorm2d
) -> tuple[MetaLearner, MetaState]:
    """A learner and a state with all that training would leave, in float64."""
    chosen = short(name, policy)
    state = init(chosen, conv_network(norm, width=4).double())
    adopt_population(chosen, state, [blobs(100 + i, 2) for i in range(2)])
    return chosen, state


def blobs(iteration: int, tasks: int) -> TaskBatch:
    return BlobSampler("train", query=2, dtype=torch.float64).batch(iteration, tasks)


def change(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to how much logits of different queries differ."""
    return float((one - other).abs().max() / one.std())


@pytest.mark.parametrize("name", VARIANTS)
def test_other_queries(name: str, policy: BatchNormPolicy) -> None:
    chosen, state = ready(name, policy)
    support_x, support_y, query_x, _, _ = blobs(0, 1)
    before = chosen.predict(state, support_x, support_y, query_x)

    replaced = query_x.clone()
    replaced[:, 1:] = 1.5 * blobs(1, 1).query_x[:, 1:] + 0.5
    others = chosen.predict(state, support_x, support_y, replaced)
    assert change(before[:, 1:], others[:, 1:]) > 0.01
    if policy.depends_on_companions:
        assert change(before[:, 0], others[:, 0]) > 1e-3
        return
    assert change(before[:, 0], others[:, 0]) < 1e-9

    backwards = chosen.predict(state, support_x, support_y, query_x.flip(1))
    assert change(before, backwards.flip(1)) < 1e-9
    alone = chosen.predict(state, support_x, support_y, query_x[:, :1])
    assert change(before[:, :1], alone) < 1e-9


@pytest.mark.parametrize("name", VARIANTS)
def test_other_tasks(name: str, policy: BatchNormPolicy) -> None:
    """Not even under `transductive`: tasks of a batch are judged by themselves."""
    chosen, state = ready(name, policy)
    support_x, support_y, query_x, _, _ = blobs(0, 2)
    together = chosen.predict(state, support_x, support_y, query_x)
    for task in range(2):
        part = slice(task, task + 1)
        alone = chosen.predict(state, support_x[part], support_y[part], query_x[part])
        assert change(together[part], alone) < 1e-9
    assert change(together[:1], together[1:]) > 0.01


@pytest.mark.parametrize("name", VARIANTS)
def test_without_batch_norm_the_policy_is_nothing(name: str) -> None:
    support_x, support_y, query_x, _, _ = blobs(0, 1)
    predictions = []
    for policy in BatchNormPolicy:
        chosen, state = ready(name, policy, group_norm)
        assert state.statistics == {}
        predictions.append(chosen.predict(state, support_x, support_y, query_x))
        alone = chosen.predict(state, support_x, support_y, query_x[:, :1])
        assert change(predictions[-1][:, :1], alone) < 1e-9
    assert change(predictions[0], predictions[1]) < 1e-9
    assert change(predictions[0], predictions[2]) < 1e-9


@pytest.mark.parametrize("name", VARIANTS)
def test_the_policies_are_three(name: str) -> None:
    support_x, support_y, query_x, _, _ = blobs(0, 1)
    predictions = []
    for policy in BatchNormPolicy:
        chosen, state = ready(name, policy)
        predictions.append(chosen.predict(state, support_x, support_y, query_x))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert change(predictions[one], predictions[other]) > 1e-3


@pytest.mark.parametrize("name", VARIANTS)
def test_support_labels_matter(name: str) -> None:
    """Renaming the classes of a support set renames the predictions, or the task was not learned from."""
    chosen, state = ready(name, "support")
    support_x, support_y, query_x, _, _ = blobs(0, 1)
    before = chosen.predict(state, support_x, support_y, query_x)
    after = chosen.predict(state, support_x, (support_y + 1) % 5, query_x)
    assert change(before, after) > 1e-3


WORDS = {policy.value for policy in BatchNormPolicy}


def test_no_word_of_a_policy_is_compared_outside_of_its_own_file() -> None:
    for path in Path(nasmeta.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                sides = [getattr(side, "value", None) for side in (node.left, *node.comparators)]
                assert not [s for s in sides if isinstance(s, str) and s in WORDS], f"{path}:{node.lineno}"


def test_whose_statistics() -> None:
    support, transductive, running = BatchNormPolicy
    assert support.statistics(5, 2) == Statistics(tasks=2, rows=5)
    assert transductive.statistics(5, 2) == running.in_training.statistics(5, 2) == Statistics(tasks=2)
    assert running.statistics(5, 2) == Statistics(population=True)
