"""Architectures with their settings: the contract of a space, and what settings add to it."""

import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from nasmeta.errors import ArchitectureError
from nasmeta.networks.cost import measure_cost
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.search_spaces.joint import JointSpace, TunedArchitecture, joint
from nasmeta.search_spaces.settings import LEVELS, Range, Setting, Value, nested
from nasmeta.seeding import stream
from nasmeta.task import TaskSpec
from nasmeta.testing.search_spaces import SearchSpaceContract
from nasmeta.testing.toy_space import ToySpace
from tests.search_spaces.shipped import shipped
from tests.search_spaces.tiny import tiny_conv

RATE = Setting.of("meta_learner.inner_lr", Range(low=0.01, high=1.0, log=True), 0.4)
STEPS = Setting.of("meta_learner.train_steps", Range(low=1, high=5), 1)
LEARNED = Setting.of("meta_learner.learn_inner_lr", [False, True], False)
ALL = (RATE, STEPS, LEARNED)


class TestJoint(SearchSpaceContract):
    plain = re.compile(r"[A-Za-z0-9|][A-Za-z0-9._+/~|-]* @ ([a-z_.]+=[a-z0-9.e-]+,?)+")

    @pytest.fixture(params=["conv_small", "mlp"])
    def space(self, request: pytest.FixtureRequest) -> SearchSpace[Any]:
        return joint(shipped(request.param), ALL)


@pytest.fixture
def toy() -> JointSpace:
    return joint(ToySpace(2, 3), ALL)


def test_a_candidate_prints_its_settings(toy: JointSpace) -> None:
    text = "1-1 @ meta_learner.inner_lr=0.4,meta_learner.train_steps=1,meta_learner.learn_inner_lr=false"
    assert str(toy.reference()) == text
    assert toy.parse(text) == toy.reference()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", "meta_learner.inner_lr"),
        (" @ meta_learner.inner_lr=0.4", "meta_learner.train_steps"),
        (
            " @ meta_learner.inner_lr=9.0,meta_learner.train_steps=1,meta_learner.learn_inner_lr=false",
            "meta_learner.inner_lr '9.0'",
        ),
    ],
)
def test_wrong_settings_are_named(toy: JointSpace, settings: str, said: str) -> None:
    with pytest.raises(ArchitectureError, match=re.escape(said)):
        toy.parse(f"1-1{settings}")


@pytest.mark.parametrize(
    "text, said",
    [
        ("\n", r"'\n' lacks its settings"),
        ("a\nb @ x", "settings 'x': give, in this order"),
        ("1-1 @ a\nb=1", r"settings 'a\nb=1': give"),
        ("1-1 @ meta_learner.inner_lr=\n", r"settings 'meta_learner.inner_lr=\n': give"),
    ],
)
def test_what_is_wrong_is_one_line(toy: JointSpace, text: str, said: str) -> None:
    with pytest.raises(ArchitectureError, match=re.escape(said)) as caught:
        toy.parse(text)
    assert "\n" not in str(caught.value)


def test_logarithmic_levels_have_equal_ratios() -> None:
    levels = Range(low=1e-4, high=1.0, log=True).values(integers=False)
    assert len(levels) == LEVELS
    ratio = 1e4 ** (1 / (LEVELS - 1))
    assert [b / a for a, b in pairwise(levels)] == pytest.approx([ratio] * (LEVELS - 1), rel=0.02)
    assert (levels[0], levels[-1]) == (1e-4, 1.0)


def test_even_levels_and_integers() -> None:
    assert Range(low=0.0, high=3.2).values(integers=True) == pytest.approx([i / 10 for i in range(33)])
    assert Range(low=1, high=5).values(integers=True) == [1, 2, 3, 4, 5]
    assert len(Range(low=1, high=5).values(integers=False)) == LEVELS
    assert all(type(value) is int for value in Range(low=1, high=1000, log=True).values(integers=True))


@pytest.mark.parametrize(
    "values, said",
    [
        ({"low": 1, "high": 1}, "low=1 has to be below high=1"),
        ({"low": 0, "high": 1, "log": True}, "low=0 has to be above 0"),
        ({"low": float("nan"), "high": 1}, "should be a finite number"),
    ],
)
def test_a_range_that_is_none(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Range(**values)


@pytest.mark.parametrize(("configured", "default"), [(0.4, 0.4), (0.005, 0.01), (7.0, 1.0)])
def test_the_configured_value_is_a_level(configured: float, default: float) -> None:
    setting = Setting.of("x.y", Range(low=0.01, high=1.0, log=True), configured)
    assert setting.default == default
    assert setting.default in setting.levels


@pytest.mark.parametrize(
    ("levels", "configured", "default"),
    [([0.1, 0.2], 0.4, 0.2), ([4, 1, 2], 3, 4), ([True, False], False, False), (["a", "b"], "c", "a")],
)
def test_of_choices_the_nearest_to_the_configured_value(levels: Any, configured: Any, default: Any) -> None:
    assert Setting.of("x.y", levels, configured).default == default


def test_settings_cost_nothing() -> None:
    space = tiny_conv()
    joint = JointSpace(space, (Setting.of("x.y", [1, 2], 1),))
    task = TaskSpec("classification", (1, 14, 14), 5)
    for arch in (space.initial(), space.reference()):
        tuned = TunedArchitecture(arch, (("x.y", 2),))
        assert measure_cost(joint, tuned, task, 8) == measure_cost(space, arch, task, 8)


def test_settings_are_drawn_evenly(toy: JointSpace) -> None:
    rng = stream(0, "joint")
    counts = Counter(dict(toy.sample(rng).settings)["meta_learner.train_steps"] for _ in range(1000))
    assert set(counts) == {1, 2, 3, 4, 5}
    assert min(counts.values()) > 150


def test_a_mutation_changes_either(toy: JointSpace) -> None:
    rng, start = stream(0, "joint"), toy.reference()
    changed = Counter(toy.mutate(start, rng).arch == start.arch for _ in range(400))
    assert 150 < changed[True] < 250


def test_a_single_architecture_still_has_settings() -> None:
    """So a fixed network is tuned by the strategy that searches for one."""
    alone = joint(ToySpace(1, 1), ALL)
    rng = stream(0, "alone")
    start = alone.reference()
    assert {alone.mutate(start, rng) for _ in range(100)} == set(alone.neighbors(start))


def test_every_setting_can_be_reached_by_edits(toy: JointSpace) -> None:
    seen: set[Value] = {RATE.default}
    waiting = [RATE.default]
    while waiting:
        for value in RATE.near(waiting.pop()):
            if value not in seen:
                seen.add(value)
                waiting.append(value)
    assert seen == set(RATE.levels)


def test_the_graph_tells_settings_apart(toy: JointSpace) -> None:
    one = toy.reference()
    other = one.having("meta_learner.train_steps", 5)
    assert toy.graph(one) != toy.graph(other)
    assert toy.drawing(one) == toy.drawing(other) == toy.space.graph(one.arch)


def test_size_counts_combinations(toy: JointSpace) -> None:
    assert toy.size == 9 * len(RATE.levels) * 5 * 2


def test_settings_are_decisions() -> None:
    space = joint(ToySpace(2, 3), ALL)
    assert isinstance(space, Decidable)
    assert space.decide(lambda kind, options: options[-1]) == TunedArchitecture(
        space.space.parse("2-2"),
        (
            ("meta_learner.inner_lr", 1.0),
            ("meta_learner.train_steps", 5),
            ("meta_learner.learn_inner_lr", True),
        ),
    )


def test_settings_by_group() -> None:
    assert nested({"optimizer.lr": 0.1, "meta_learner.inner_lr": 0.2, "optimizer.momentum": 0.0}) == {
        "optimizer": {"lr": 0.1, "momentum": 0.0},
        "meta_learner": {"inner_lr": 0.2},
    }
