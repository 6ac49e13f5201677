"""Parameters and FLOPs against hand counts."""

import pytest
import torch

from nasmeta.errors import ArchitectureError
from nasmeta.networks.cost import counted_cost, measure_cost
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost
from tests.search_spaces.shipped import shipped

OMNIGLOT = TaskSpec("classification", (1, 28, 28), 5, 20)


def conv_cost(text: str, task: TaskSpec = OMNIGLOT) -> Cost:
    space = shipped("conv")
    return counted_cost(space, space.parse(text), task)


def counted(cost: Cost) -> tuple[int, int]:
    return cost.params, cost.flops


def test_reference() -> None:
    space = shipped("conv")
    weights = 64 * 9 + 3 * 64 * 64 * 9
    norms = 4 * 2 * 64
    head = 64 * 5 + 5
    # Maps of 28, 14, 7 and 3 positions a side; 64 features are left.
    products = 28**2 * 9 * 64 + (14**2 + 7**2 + 3**2) * 9 * 64 * 64 + 64 * 5
    assert counted(counted_cost(space, space.reference(), OMNIGLOT)) == (weights + norms + head, 2 * products)


def test_separable_with_squeeze_excite_and_projection() -> None:
    text = "conv3-16.bn.relu.max_sep5-32.gn.silu.stride+skip+se_flatten"
    first = 9 * 16
    depthwise, pointwise, projection = 25 * 16, 16 * 32, 16 * 32
    squeeze, excite = 32 * 8, 8 * 32
    head = 32 * 7 * 7 * 5
    norms = 2 * 16 + 2 * 32 + 2 * 32
    biases = 8 + 32 + 5
    params = first + depthwise + pointwise + projection + squeeze + excite + head + norms + biases
    products = 28**2 * first + 7**2 * (depthwise + pointwise + projection) + squeeze + excite + head
    assert counted(conv_cost(text)) == (params, 2 * products)


def test_mlp() -> None:
    space = shipped("mlp")
    task = TaskSpec("regression", (1,), 1)
    expected = 40 + 40 + 40 * 40 + 40 + 40 + 1, 2 * (40 + 40 * 40 + 40)
    assert counted(counted_cost(space, space.reference(), task)) == expected


def test_one_example_on_one_position_is_counted() -> None:
    # Batch norm itself refuses this map of one value a channel.
    blocks = ["conv3-8.bn.relu.max"] * 4 + ["conv3-8.bn.relu.none"]
    assert conv_cost("_".join([*blocks, "gap"])).flops > 0


def test_more_outputs_cost_more() -> None:
    text = str(shipped("conv").reference())
    five, twenty = (conv_cost(text, TaskSpec("classification", (1, 28, 28), way)) for way in (5, 20))
    assert (twenty.params - five.params, twenty.flops - five.flops) == (15 * 65, 15 * 64 * 2)


def test_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    space = shipped("conv")
    first = measure_cost(space, space.reference(), OMNIGLOT)
    monkeypatch.setattr(torch, "empty", None)
    assert measure_cost(space, space.parse(str(space.reference())), OMNIGLOT) is first


def test_what_cannot_be_built_has_no_cost() -> None:
    with pytest.raises(ArchitectureError, match="at least 16x16, got 12x12"):
        conv_cost(str(shipped("conv").reference()), TaskSpec("classification", (1, 12, 12), 5))
