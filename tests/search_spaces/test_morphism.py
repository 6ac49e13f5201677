"""Morphisms: what claims to preserve a network's function does, to 1e-5 in float64; the rest fits."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nasmeta.search_spaces import morphism
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.seeding import stream, torch_stream
from nasmeta.task import TaskSpec
from tests.search_spaces.shipped import FILES, shipped

IMAGES = TaskSpec("classification", (1, 16, 16), 5, 20)
NUMBERS = TaskSpec("regression", (3,), 2, 0)
SPACES = {path.stem: shipped(path.stem) for path in FILES}
CONV, MLP = SPACES["conv"], SPACES["mlp"]

A, B = "conv3-16.bn.relu.max", "conv3-16.bn.relu.none"
FIRST = "conv3-16.bn.relu.max_conv3-16.bn.relu.max"
WIDER = [
    (f"{FIRST}_flatten", "conv3-32.bn.relu.max_conv3-24.bn.relu.max_flatten"),
    (f"{FIRST}_gap", "conv3-48.bn.relu.max_conv3-16.bn.relu.max_gap"),
    (f"{A}_sep3-16.bn.gelu.avg_gap", "conv3-24.bn.relu.max_sep3-24.bn.gelu.avg_gap"),
    (f"{A}_res3-16.bn.silu.max_flatten", "conv3-64.bn.relu.max_res3-64.bn.silu.max_flatten"),
    (
        f"{A}_{B}+skip+se_{A}_gap",
        "conv3-24.bn.relu.max_conv3-24.bn.relu.none+skip+se_conv3-32.bn.relu.max_gap",
    ),
    (f"{A}_conv3-24.bn.relu.stride+skip_gap", "conv3-24.bn.relu.max_conv3-32.bn.relu.stride+skip_gap"),
]
KERNELS = [
    (f"{FIRST}_flatten", "conv5-16.bn.relu.max_conv3-16.bn.relu.max_flatten"),
    (
        "conv1-16.gn.silu.stride_sep3-16.gn.relu.stride_gap",
        "conv3-16.gn.silu.stride_sep5-16.gn.relu.stride_gap",
    ),
    (f"res1-16.bn.relu.stride_{A}_gap", f"res5-16.bn.relu.stride_{A}_gap"),
]
DEEPER = [
    (f"{FIRST}_flatten", f"{A}_{B}+skip_{A}_flatten"),
    (f"{FIRST}_gap", f"{FIRST}_res3-16.bn.relu.none_gap"),
    (f"{FIRST}_gap", f"{FIRST}_sep5-16.gn.relu.none+skip+se_gap"),
]
ALL = [
    (
        "conv3-16.bn.relu.max_conv3-16.bn.relu.max_flatten",
        f"conv5-24.bn.relu.max_conv3-24.bn.relu.none+skip_{A}_flatten",
    )
]
LAYERS = [
    ("fc16.tanh.none_fc16.relu.none", "fc24.tanh.none_fc40.relu.none"),
    ("fc16.relu.batch_fc16.silu.batch+skip", "fc40.relu.batch_fc40.silu.batch+skip"),
    ("fc16.relu.layer_fc16.relu.layer+skip", "fc32.relu.layer_fc32.relu.layer+skip"),
    ("fc16.relu.none_fc24.tanh.none", "fc16.relu.none_fc16.relu.none_fc24.tanh.none"),
    ("fc16.relu.none_fc24.tanh.none", "fc16.relu.none_fc16.relu.layer+skip_fc24.tanh.none"),
    ("fc16.relu.batch", "fc16.relu.batch_fc16.relu.none+skip"),
]


def networks(space: SearchSpace[Any], old: str, new: str, task: TaskSpec) -> tuple[Any, Any, Tensor]:
    """The old network, the new one with morphed weights, and inputs; all float64, nothing at rest."""
    before, after = space.parse(old), space.parse(new)
    with torch_stream(0, "morph"):
        source, target = space.build(before, task).double(), space.build(after, task).double()
        with torch.no_grad():
            for parameter in source.parameters():  # norms begin at 1 and 0, which would hide mistakes
                parameter.add_(0.3 * torch.randn_like(parameter))
        x = torch.randn(7, *task.input_shape, dtype=torch.float64)
    weights, fresh = dict(source.named_parameters()), dict(target.named_parameters())
    morphed = space.morph(before, after, weights, fresh, stream(0, "shares"))
    assert list(morphed) == list(fresh)
    target.load_state_dict(morphed)
    return source, target, x


@pytest.mark.parametrize("old,new", [*WIDER, *KERNELS, *DEEPER, *ALL], ids=str)
def test_conv_edits_that_preserve_the_function(old: str, new: str) -> None:
    source, target, x = networks(CONV, old, new, IMAGES)
    torch.testing.assert_close(target(x), source(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("old,new", LAYERS, ids=str)
def test_mlp_edits_that_preserve_the_function(old: str, new: str) -> None:
    source, target, x = networks(MLP, old, new, NUMBERS)
    torch.testing.assert_close(target(x), source(x), rtol=1e-5, atol=1e-5)


def test_copies_learn_different_things() -> None:
    """With equal shares two copies of a unit would have the same gradient for ever."""
    _, target, x = networks(MLP, "fc16.tanh.none", "fc32.tanh.none", NUMBERS)
    target(x).square().mean().backward()
    gradient = target.get_parameter("body.layer1.branch.0.weight").grad
    assert gradient is not None
    assert not torch.allclose(gradient[:16], gradient[16:])


def test_a_layer_that_shrinks_begins_afresh() -> None:
    rng = np.random.default_rng(0)
    assert morphism.grown(torch.ones(4, 4), torch.Size((3, 4)), rng) is None
    assert morphism.grown(torch.ones(4, 4), torch.Size((4,)), rng) is None


@settings(deadline=None)
@given(old=st.text("abc", max_size=7), new=st.text("abc", max_size=7))
def test_alignment_is_the_cheapest_edit_script(old: str, new: str) -> None:
    def difference(a: str, b: str) -> float:
        return abs(ord(a) - ord(b)) * 0.75

    def cheapest(i: int, j: int) -> float:
        if i == len(old) or j == len(new):
            return morphism.GAP_COST * (len(old) - i + len(new) - j)
        match = difference(old[i], new[j]) + cheapest(i + 1, j + 1)
        return min(match, morphism.GAP_COST + min(cheapest(i + 1, j), cheapest(i, j + 1)))

    found = morphism.aligned(old, new, difference)
    pairs = [(i, j) for j, i in enumerate(found) if i is not None]
    assert [i for i, _ in pairs] == sorted({i for i, _ in pairs})
    gaps = len(old) + len(new) - 2 * len(pairs)
    assert sum(difference(old[i], new[j]) for i, j in pairs) + gaps * morphism.GAP_COST == pytest.approx(
        cheapest(0, 0)
    )


@pytest.mark.parametrize("name", sorted(SPACES))
def test_a_space_widens_from_round_to_round_to_the_whole(name: str) -> None:
    whole, rng = SPACES[name], stream(0, "widened")
    rounds = [whole.part_for_round(number, 3) for number in (1, 2, 3)]
    sizes = [space.size or 0 for space in rounds]
    assert sizes == sorted(sizes)
    assert sizes[-1] == (whole.size or 0)
    for inner, outer in zip(rounds, [*rounds[1:], whole], strict=True):
        for arch in (inner.reference(), inner.initial(), *(inner.sample(rng) for _ in range(10))):
            assert outer.parse(str(arch)) == arch
