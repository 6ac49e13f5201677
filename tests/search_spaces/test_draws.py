"""Draws that spend a budget, repairs that meet limits, and the opponents under them."""

import math
from typing import Any

import numpy as np
import pytest

from nasmeta.networks.cost import counted_cost
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.conv.architecture import final_size
from nasmeta.search_spaces.count import Bits
from nasmeta.search_spaces.mlp import MlpSpace
from nasmeta.search_spaces.sequence_space import FLOPS, LEAST, SequenceSpace
from nasmeta.seeding import stream
from nasmeta.task import TaskSpec
from nasmeta.trial import Limits
from tests.search_spaces.shipped import shipped

GREY = TaskSpec("classification", (1, 28, 28), 5, 20)
COLOUR = TaskSpec("classification", (3, 37, 45), 20, 20)
NUMBERS = TaskSpec("regression", (3,), 2, 0)
BITS: tuple[Bits, ...] = (8, 32)
SEQUENCES = [("conv", GREY), ("mlp", NUMBERS)]


def sequences(name: str, **changed: Any) -> SequenceSpace[Any, Any]:
    space = shipped(name, **changed)
    assert isinstance(space, SequenceSpace)
    return space


@pytest.mark.parametrize("name, task", [*SEQUENCES, ("conv", COLOUR), ("mlp", GREY)])
def test_cost_is_what_is_counted_on_the_network(name: str, task: TaskSpec) -> None:
    space, rng = sequences(name), stream(0, "cost")
    for arch in [space.reference(), *(space.draw(rng) for _ in range(25))]:
        for bits in BITS:
            assert space.formula_cost(arch, task, bits) == counted_cost(space, arch, task, bits), str(arch)


@pytest.mark.parametrize("name, task", SEQUENCES)
@pytest.mark.parametrize("share", [None, 0.3, 4])
def test_draws_spend_the_budget(name: str, task: TaskSpec, share: float | None) -> None:
    whole, rng = sequences(name), stream(0, "budget")
    reference = whole.formula_cost(whole.reference(), task)
    limit = reference.params if share is None else int(share * reference.params)
    space = whole.with_draws_for(task, Limits(params=None if share is None else limit))
    opponent = whole.reference_within(lambda arch: whole.formula_cost(arch, task).params <= limit)
    archs = [space.sample(rng) for _ in range(200)]
    costs = [space.formula_cost(arch, task) for arch in archs]
    assert [space.parse(str(arch)) for arch in archs] == archs
    assert max(cost.params for cost in costs) <= limit
    assert max(cost.flops for cost in costs) <= FLOPS * whole.formula_cost(opponent, task).flops
    middle = np.median([cost.params for cost in costs])
    assert 0.8 * limit * LEAST < middle < 0.75 * limit, "half of a log-uniform draw is below sqrt(LEAST)"
    assert sum(arch.widths == sorted(arch.widths) for arch in archs) > 0.8 * len(archs)


def test_draws_keep_to_a_limit_on_flops() -> None:
    space, rng = sequences("conv").with_draws_for(GREY, Limits(flops=2e6)), stream(0, "flops")
    assert max(space.formula_cost(space.sample(rng), GREY).flops for _ in range(100)) <= 2e6


@pytest.mark.parametrize("name", ["conv", "conv_mcu"])
def test_draws_keep_to_limits_on_memory_and_flash(name: str) -> None:
    """The bytes of a microcontroller with 64 KiB, of which a network gets a quarter."""
    limits = Limits(memory=16 * 1024, flash=40 * 1024, bits=8)
    whole, rng = sequences(name), stream(0, "memory")
    space = whole.with_draws_for(GREY, limits)
    archs = [*space.relatives(), *(space.sample(rng) for _ in range(60))]
    assert len(set(archs)) > 50
    assert [space.parse(str(arch)) for arch in archs] == archs
    assert all(limits.allow(whole.formula_cost(arch, GREY, 8)) for arch in archs)
    opponent = whole.reference_within(lambda arch: limits.allow(whole.formula_cost(arch, GREY, 8)))
    assert opponent == whole.reference_of(16 * 1024 // (28 * 28 + 14 * 14))


def test_conv_draws_have_short_embeddings_few_strides_and_grow_moderately() -> None:
    """What ruins a network for a learner by distances is rare, and still there."""
    space, rng = sequences("conv").with_draws_for(GREY, Limits()), stream(0, "embeddings")
    archs = [space.sample(rng) for _ in range(300)]
    positions = [math.prod(final_size(arch, GREY)) if arch.head == "flatten" else 1 for arch in archs]
    lengths = [arch.widths[-1] * count for arch, count in zip(archs, positions, strict=True)]
    assert np.quantile(lengths, 0.5) <= 128
    assert np.quantile(lengths, 0.9) <= 512 < max(lengths)
    strided = [any(block.downsample == "stride" for block in arch.blocks) for arch in archs]
    assert 0 < np.mean(strided) < 0.2
    assert np.median([arch.widths[-1] / arch.widths[0] for arch in archs]) <= 4


def test_draws_can_be_built_for_small_images() -> None:
    small = TaskSpec("classification", (1, 4, 4), 5, 20)
    space, rng = sequences("conv").with_draws_for(small, Limits(params=50_000)), stream(0, "small")
    assert all(counted_cost(space, space.sample(rng), small).params <= 50_000 for _ in range(40))


def test_draws_reach_everything_that_is_allowed() -> None:
    whole = MlpSpace(
        min_layers=1, max_layers=2, widths=[8, 16], activations=["relu", "tanh"], norms=["none"], skip=True
    )
    members = {whole.draw(stream(number, "members")) for number in range(2000)}
    assert len(members) == whole.size == 2 * 2 * (1 + 6)
    allowed = {arch for arch in members if whole.formula_cost(arch, NUMBERS).params <= 250}
    space, rng = whole.with_draws_for(NUMBERS, Limits(params=250, flops=10**9)), stream(0, "reach")
    assert {space.sample(rng) for _ in range(3000)} == allowed != members


@pytest.mark.parametrize("name, task", SEQUENCES)
def test_the_opponent_is_the_widest_that_fits(name: str, task: TaskSpec) -> None:
    space = sequences(name)
    for limit in (700, 50_000, 500_000):

        def fits(arch: Any, limit: int = limit) -> bool:
            return counted_cost(space, arch, task).params <= limit

        opponent = space.reference_within(fits)
        (width,) = set(opponent.widths)
        assert opponent == space.reference_of(width) == space.parse(str(opponent))
        assert not fits(space.reference_of(width + 1))
        assert fits(opponent) or limit == 700, "the narrowest conv reference has more parameters than that"


@pytest.mark.parametrize("name, task", SEQUENCES)
def test_relatives_are_varied_members_within_the_limits(name: str, task: TaskSpec) -> None:
    whole = sequences(name)
    assert whole.relatives()[0] == whole.reference()
    limit = whole.formula_cost(whole.reference(), task).params // 2
    relatives = whole.with_draws_for(task, Limits(params=limit)).relatives()
    assert len(set(relatives)) == len(relatives) >= 4
    assert [whole.parse(str(arch)) for arch in relatives] == relatives
    assert all(limit / 2 < whole.formula_cost(arch, task).params <= limit for arch in relatives)


def test_a_relative_of_conv_has_twice_the_depth() -> None:
    """It pools as often as the reference, by averages; a space without the depth for it has others."""
    space = sequences("conv")
    count = len(space.reference().blocks)
    (deep,) = [arch for arch in space.relatives() if len(arch.blocks) == 2 * count]
    assert [block.downsample for block in deep.blocks] == ["none", "avg"] * count
    assert {(block.op, block.norm, block.activation) for block in deep.blocks} == {("conv", "bn", "relu")}
    shallow = sequences("conv", max_blocks=2 * count - 1)
    assert len(shallow.relatives()) == len(space.relatives()) - 1
    downs = sequences("conv", max_downsamples=count - 1).relatives()
    assert any(len(arch.blocks) == 2 * count for arch in downs), "with a pooling less"


def test_a_space_for_other_inputs_has_no_allowance() -> None:
    space = sequences("conv")
    elsewhere = space.with_draws_for(NUMBERS, Limits(params=1000))
    assert elsewhere.sample(stream(0, "other")) == space.sample(stream(0, "other"))


REPAIRED: list[tuple[str, TaskSpec, float]] = [
    ("conv", GREY, 0.2), ("mlp", NUMBERS, 0.2), ("darts", GREY, 0.9), ("nasbench201", GREY, 0.9),
]  # fmt: skip


@pytest.mark.parametrize("name, task, share", REPAIRED)
def test_repair_meets_limits(name: str, task: TaskSpec, share: float) -> None:
    space, rng = shipped(name), stream(0, "repair")
    limit = share * counted_cost(space, space.reference(), task).params

    def fits(arch: Any) -> bool:
        return counted_cost(space, arch, task).params <= limit

    found = 0
    for arch in [space.reference(), *(space.sample(rng) for _ in range(4))]:
        repaired = space.repair(arch, fits, rng)
        if repaired is not None:
            assert fits(repaired)
            assert space.parse(str(repaired)) == repaired
            assert repaired == arch or not fits(arch)
            found += 1
    assert found >= 4


@pytest.mark.parametrize("name, task, share", REPAIRED)
def test_what_cannot_be_repaired_is_given_up(name: str, task: TaskSpec, share: float) -> None:
    space: SearchSpace[Any] = shipped(name)
    assert space.repair(space.reference(), lambda arch: False, stream(0, "never")) is None
    assert space.reference_within(lambda arch: False) == space.reference()
