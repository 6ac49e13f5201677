"""A space with `adaptive`: that architecture is the relaxed network, and all others are as they were."""

import pytest
import torch

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE, AdaptiveSpace, with_adaptive
from nasmeta.search_spaces.relaxation.mixture import RelaxedNetwork
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.seeding import stream
from nasmeta.task import TaskSpec
from nasmeta.trial import Limits
from tests.search_spaces.shipped import shipped

TASK = TaskSpec("classification", (1, 16, 16), 5, 20)
PLAIN = shipped("nasbench201", width=4, stages=2)
SPACE = with_adaptive(PLAIN, Relaxation("all", 1))


def test_adaptive_is_the_relaxed_network() -> None:
    assert SPACE.parse("adaptive") == ADAPTIVE
    with torch.device("meta"):
        assert isinstance(SPACE.build(ADAPTIVE, TASK), RelaxedNetwork)
    assert SPACE.graph(ADAPTIVE) == SPACE.drawing(ADAPTIVE)
    assert SPACE.graph(ADAPTIVE).operations == ("input", "output")


def test_the_other_architectures_are_as_they_were() -> None:
    archs = [space.sample(stream(0, "adaptive")) for space in (SPACE, PLAIN)]
    assert archs[0] == archs[1] == SPACE.parse(str(archs[0]))
    assert SPACE.graph(archs[0]) == PLAIN.graph(archs[0])
    assert list(SPACE.neighbors(archs[0])) == list(PLAIN.neighbors(archs[0]))
    assert (SPACE.size, SPACE.used_operations) == (PLAIN.size, PLAIN.used_operations)


def test_nothing_of_the_space_is_forgotten() -> None:
    """A default of SearchSpace in place of what the space says would go unnoticed."""
    public = {name for name in vars(SearchSpace) if not name.startswith("_")}
    assert public - set(vars(AdaptiveSpace)) == {"repair"}, "it is made of others"


@pytest.mark.parametrize(
    "part",
    [SPACE.part_for_round(1, 2), SPACE.buildable(TASK), SPACE.with_draws_for(TASK, Limits(params=1000))],
    ids=["part_for_round", "buildable", "with_draws_for"],
)
def test_parts_of_the_space_have_it_too(part: AdaptiveSpace) -> None:
    assert part.parse("adaptive") == ADAPTIVE


def test_it_is_decidable_if_the_space_is() -> None:
    assert isinstance(SPACE, Decidable)
    assert SPACE.decisions == PLAIN.decisions  # type: ignore[attr-defined]
    first = SPACE.decide(lambda kind, options: options[0])
    assert PLAIN.parse(str(first)) == first
