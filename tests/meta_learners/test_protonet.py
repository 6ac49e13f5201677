"""Prototypes and distances by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from nasmeta.errors import ConfigError
from nasmeta.meta_learners.base import adopt_population
from nasmeta.meta_learners.protonet import prototypes
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.testing.meta_learners import WAY, BlobSampler, conv_network, init, training_sampler
from tests.meta_learners.options import learner

PLANE = TaskSpec("classification", (2,), 2, 2)


def plane() -> FewShotNetwork:
    """Points of the plane are their own embeddings."""
    return FewShotNetwork(nn.Identity(), nn.Linear(2, 2))


def logits(distance: str, support: list[list[float]], query: list[float], learned: bool = False) -> Tensor:
    protonet = learner("protonet", "support", distance=distance, learn_temperature=learned)
    state = init(protonet, plane(), PLANE)
    labels = torch.tensor([[0, 0, 1]])
    return protonet.predict(state, torch.tensor([support]), labels, torch.tensor([[query]]))[0, 0]


def test_three_points_by_squared_distance() -> None:
    """Prototypes (1, 0) and (0, 2); the query (1, 1) is 1 and 2 away, squared: softmax of -1 and -2."""
    got = logits("euclidean", [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]], [1.0, 1.0]).softmax(0)
    expected = torch.tensor([1.0, math.exp(-1.0)]) / (1 + math.exp(-1.0))
    torch.testing.assert_close(got, expected)
    assert got.tolist() == pytest.approx([0.731059, 0.268941], abs=1e-6)


def test_three_points_by_cosine() -> None:
    """Directions (1, 0) and (0, 1); the query (3, 4) has cosines 0.6 and 0.8, times 10."""
    for learned in (False, True):
        got = logits("cosine", [[0.0, 0.0], [2.0, 0.0], [0.0, 5.0]], [3.0, 4.0], learned)
        assert got.tolist() == pytest.approx([6.0, 8.0], rel=1e-6)


def test_the_loss_of_three_points() -> None:
    """Cross-entropy of the softmax above: log(1 + 1/e)."""
    protonet = learner("protonet", "support")
    state = init(protonet, FewShotNetwork(nn.Linear(2, 2), nn.Linear(2, 2)), PLANE)
    with torch.no_grad():
        state.parameters["body.weight"].copy_(torch.eye(2))
        state.parameters["body.bias"].zero_()
    batch = TaskBatch(
        torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]]),
        torch.tensor([[0, 0, 1]]),
        torch.tensor([[[1.0, 1.0]]]),
        torch.tensor([[0]]),
        torch.tensor([[0, 1]]),
    )
    gradients, metrics = protonet.meta_gradient(state, batch, 0)
    assert float(metrics["loss"]) == pytest.approx(math.log(1 + math.exp(-1.0)), rel=1e-6)
    assert float(metrics["accuracy"]) == 1.0
    assert not gradients["head.weight"].any(), "the head takes no part"


def test_prototypes_of_classes_of_different_sizes() -> None:
    embeddings = torch.tensor(
        [[[1.0], [3.0], [8.0], [5.0], [6.0], [7.0]], [[1.0], [2.0], [3.0], [4.0], [5.0], [9.0]]]
    )
    labels = torch.tensor([[0, 0, 1, 2, 2, 2], [2, 1, 0, 1, 0, 0]])
    expected = torch.tensor([[[2.0], [8.0], [6.0]], [[17 / 3], [3.0], [1.0]]])
    torch.testing.assert_close(prototypes(embeddings, labels, 3), expected)


def test_more_ways_in_training_than_in_testing() -> None:
    protonet = learner("protonet", "running", train_way=9)
    state = init(protonet, conv_network())
    batch = training_sampler(protonet).batch(0, 2)
    assert batch.classes.shape == (2, 9)
    _, metrics = protonet.meta_gradient(state, batch, 0)
    five = training_sampler(learner("protonet", "running")).batch(0, 2)
    _, fewer = protonet.meta_gradient(state, five, 0)
    assert float(metrics["loss"]) > float(fewer["loss"]), "nine classes are harder than five"
    adopt_population(protonet, state, [batch])
    assert protonet.predict(state, *BlobSampler("valid").batch(0, 2)[:3]).shape[-1] == WAY


def test_other_numbers_of_classes_at_test_time() -> None:
    protonet = learner("protonet", "support")
    state = protonet.with_num_classes(init(protonet, conv_network()), 7)
    assert protonet.predict(state, *BlobSampler("valid", way=7).batch(0, 1)[:3]).shape[-1] == 7


@pytest.mark.parametrize("name", ["protonet", "ridge", "finetune"])
def test_another_number_of_classes_leaves_the_state_as_it_is(name: str) -> None:
    chosen = learner(name, "support")
    state = init(chosen, conv_network())
    wider = chosen.with_num_classes(state, 7)
    assert (state.task.outputs, wider.task.outputs) == (WAY, 7)
    assert wider.network is state.network
    assert all(wider.parameters[key] is value for key, value in state.parameters.items())


def test_regression_is_refused() -> None:
    protonet = learner("protonet", "support")
    message = (
        r"^meta_learner: ProtoNet cannot do regression: a prototype is the mean embedding of a class, and "
        r"regression has none; use meta_learner=maml, reptile or finetune$"
    )
    with pytest.raises(ConfigError, match=message):
        protonet.check(TaskSpec("regression", (1,), 1))
    protonet.check(PLANE)


@pytest.mark.parametrize("name", ["maml", "reptile", "finetune"])
def test_the_others_do_regression(name: str) -> None:
    learner(name, "support").check(TaskSpec("regression", (1,), 1))
    learner(name, "support").check(PLANE)


@pytest.mark.parametrize("name", ["maml", "reptile"])
def test_a_meta_learned_head_has_its_ways(name: str) -> None:
    chosen = learner(name, "support")
    state = init(chosen, conv_network())
    assert chosen.with_num_classes(state, WAY) is state
    with pytest.raises(ConfigError, match=r"^task\.way: .* 5 outputs.* 7 classes$"):
        chosen.with_num_classes(state, 7)
