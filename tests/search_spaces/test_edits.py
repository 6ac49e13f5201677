"""Edits and draws against enumerations, and what an edit is."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.conv import ConvArchitecture, ConvSpace
from nasmeta.seeding import stream
from tests.search_spaces.shipped import shipped
from tests.search_spaces.tiny import (
    all_of_tiny_conv,
    all_of_tiny_mlp,
    drawn,
    mutual,
    reachable,
    tiny_conv,
    tiny_mlp,
)

WHOLE = [
    pytest.param(tiny_conv(), all_of_tiny_conv(), id="conv"),
    pytest.param(
        tiny_conv(min_downsamples=2), [a for a in all_of_tiny_conv() if a.downsamplings == 2], id="conv-fixed"
    ),
    pytest.param(tiny_mlp(), all_of_tiny_mlp(), id="mlp"),
]


@pytest.mark.parametrize("space, members", WHOLE)
class TestAgainstEnumeration:
    def test_size(self, space: SearchSpace[Any], members: list[Any]) -> None:
        assert space.size == len(members) == len(set(members))

    def test_neighbors_are_mutual(self, space: SearchSpace[Any], members: list[Any]) -> None:
        assert mutual(space, members)

    def test_edits_connect_the_space(self, space: SearchSpace[Any], members: list[Any]) -> None:
        assert reachable(space, space.initial()) == set(members)

    def test_mutation_reaches_every_neighbor(self, space: SearchSpace[Any], members: list[Any]) -> None:
        rng = stream(0, "mutations")
        for arch in members[:: len(members) // 5]:
            assert {space.mutate(arch, rng) for _ in range(1200)} == set(space.neighbors(arch))


@pytest.mark.parametrize(
    "space, members",
    [
        pytest.param(
            tiny_conv(skip=False),
            [a for a in all_of_tiny_conv() if not any(block.skip for block in a.blocks)],
            id="conv",
        ),
        pytest.param(tiny_mlp(), all_of_tiny_mlp(), id="mlp"),
    ],
)
def test_sampling_reaches_everything(space: SearchSpace[Any], members: list[Any]) -> None:
    assert parts(drawn(space, stream(0, "support"), 16000)) == parts(members)


def parts(archs: Iterable[Any]) -> set[Any]:
    """The sequences of blocks, and the heads of each number of downsamplings, on which alone heads depend."""
    found = set(archs)
    heads = {(a.downsamplings, a.head) for a in found if isinstance(a, ConvArchitecture)}
    return {a.blocks for a in found} | heads


def test_fixed_downsamplings_can_still_move() -> None:
    # With exactly 2 downsamplings, none can be dropped before another is added: only moving them helps.
    few = {"widths": [8], "ops": ["conv3"], "norms": ["bn"], "activations": ["relu"], "downsamples": ["max"]}
    bare = {"skip": False, "squeeze_excite": False}
    space = shipped("conv", min_downsamples=2, max_downsamples=2, max_blocks=3, **few, **bare)
    assert len(reachable(space, space.initial())) == space.size == 2 * (1 + 3)


def conv() -> ConvSpace:
    space = shipped("conv")
    assert isinstance(space, ConvSpace)
    return space


def near(text: str) -> set[str]:
    space = conv()
    return {str(arch) for arch in space.neighbors(space.parse(text))}


PYRAMID = "conv3-24.bn.relu.max_conv3-48.bn.relu.max_conv3-64.bn.relu.none+se_conv3-96.bn.relu.max_flatten"


@pytest.mark.parametrize(
    "after",
    [
        PYRAMID.replace("conv3-24", "conv5-24"),
        PYRAMID.replace("conv3-24", "res1-24"),
        PYRAMID.replace("conv3-24", "conv3-32"),
        PYRAMID.replace("24.bn", "24.gn"),
        PYRAMID.replace("24.bn.relu", "24.bn.silu"),
        PYRAMID.replace("96.bn.relu.max", "96.bn.relu.stride"),
        PYRAMID.replace("none+se", "none"),
        PYRAMID.replace("none+se", "none+skip+se"),
        PYRAMID.replace("none+se", "max+se"),
        PYRAMID.replace("flatten", "gap"),
        PYRAMID.replace("_conv3-96", "_conv3-96.bn.relu.none_conv3-96"),
        PYRAMID.replace("96.bn.relu.max", "96.bn.relu.max_conv3-128.bn.relu.max"),
        PYRAMID.replace("conv3-24.bn.relu.max_", ""),
        PYRAMID.replace("conv3-48.bn.relu.max_", ""),
        "conv3-16.bn.relu.max_conv3-32.bn.relu.max_conv3-48.bn.relu.none+se_conv3-64.bn.relu.max_flatten",
        "conv3-32.bn.relu.max_conv3-64.bn.relu.max_conv3-96.bn.relu.none+se_conv3-128.bn.relu.max_flatten",
        "conv3-24.bn.relu.max_conv3-48.bn.relu.none_conv3-64.bn.relu.max+se_conv3-96.bn.relu.max_flatten",
    ],
)
def test_one_edit(after: str) -> None:
    assert after != PYRAMID
    assert after in near(PYRAMID)


@pytest.mark.parametrize(
    "after",
    [
        PYRAMID.replace("conv3-24", "conv3-48"),
        PYRAMID.replace("conv3-24.bn", "sep3-24.gn"),
        PYRAMID.replace("conv3-64.bn.relu.none+se_", ""),
        PYRAMID.replace("24.bn.relu.max", "24.bn.relu.max_conv3-64.bn.relu.none"),
    ],
)
def test_more_than_one_edit(after: str) -> None:
    assert str(conv().parse(after)) == after
    assert after not in near(PYRAMID)


def test_a_block_goes_where_its_neighbor_is_alike() -> None:
    reference = str(conv().reference())
    assert reference.replace("conv3-64.bn.relu.max_", "", 1) in near(reference)


def test_every_kind_of_edit_is_likely() -> None:
    space, rng, kinds = conv(), stream(0, "kinds"), Counter[str]()
    arch = space.parse(PYRAMID)
    for _ in range(600):
        kinds[kind(arch, space.mutate(arch, rng))] += 1
    assert kinds["attribute"] > 200
    assert min(kinds["longer"], kinds["shorter"], kinds["scale"], kinds["moved"], kinds["head"]) > 20


def kind(old: ConvArchitecture, new: ConvArchitecture) -> str:
    if len(old.blocks) != len(new.blocks):
        return "longer" if len(new.blocks) > len(old.blocks) else "shorter"
    if old.head != new.head:
        return "head"
    changed = [(a, b) for a, b in zip(old.blocks, new.blocks, strict=True) if a != b]
    if len(changed) == 1:
        return "attribute"
    return "scale" if all(replace(a, width=b.width) == b for a, b in changed) else "moved"


def test_crossover_joins_a_prefix_and_a_suffix() -> None:
    space, rng = conv(), stream(0, "crossover")
    for a, b in [(space.sample(rng), space.sample(rng)) for _ in range(100)]:
        child = space.crossover(a, b, rng)
        assert child.head in (a.head, b.head)
        joined = {
            (x.blocks[:i] + y.blocks[j:])
            for x, y in ((a, b), (b, a))
            for i in range(len(x.blocks) + 1)
            for j in range(len(y.blocks) + 1)
        }
        assert child.blocks in joined


def test_crossover_takes_from_both() -> None:
    space, rng = conv(), stream(0, "crossover")
    a, b = space.reference(), space.parse(PYRAMID)
    children = [space.crossover(a, b, rng) for _ in range(50)]
    assert all({*child.blocks} & {*a.blocks} and {*child.blocks} & {*b.blocks} for child in children)
    assert len({child.head for child in children}) == 1


def test_sampled_networks_are_varied_and_often_pyramids() -> None:
    space, rng = conv(), stream(0, "distribution")
    rows = [[block.width for block in space.sample(rng).blocks] for _ in range(2000)]
    deep = [row for row in rows if len(row) >= 4]
    growing = sum(row == sorted(row) and row[0] < row[-1] for row in deep) / len(deep)
    constant = sum(len(set(row)) == 1 for row in deep) / len(deep)
    assert growing == pytest.approx(0.5, abs=0.05)
    assert constant == pytest.approx(0.25, abs=0.05)
    assert {len(row) for row in rows} == set(range(2, 9))


def test_a_space_of_one_has_no_mutation() -> None:
    alone = shipped(
        "mlp", min_layers=1, max_layers=1, widths=[40], activations=["relu"], norms=["none"], skip=False
    )
    assert alone.size == 1
    with pytest.raises(ArchitectureError, match=r"^fc40\.relu\.none "):
        alone.mutate(alone.reference(), stream(0, "alone"))
