"""Decisions: every sequence of answers ends at an architecture, and every architecture ends one sequence."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from nasmeta.search_spaces.darts.space import DartsSpace
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.testing.toy_space import ToySpace
from tests.search_spaces.shipped import shipped
from tests.search_spaces.tiny import all_of_tiny_conv, all_of_tiny_mlp, tiny_conv, tiny_mlp

TINY_DARTS = DartsSpace(
    nodes=2, ops=["skip_connect", "conv_3x3"], width=4, widening=2, layers=2, reductions=None
)


def decided(space: Decidable[Any], prefix: list[int]) -> tuple[Any, list[tuple[int, int]]]:
    """What answers that begin with `prefix` and go on with 0 make; each answer, with how many there were."""
    taken: list[tuple[int, int]] = []

    def choose(kind: str, options: Sequence[Any]) -> Any:
        answer = prefix[len(taken)] if len(taken) < len(prefix) else 0
        taken.append((answer, len(options)))
        return options[answer]

    return space.decide(choose), taken


def sequences(space: Decidable[Any]) -> Iterator[tuple[Any, list[tuple[int, int]]]]:
    """Every sequence of answers in lexicographic order, each behind the architecture at its end."""
    prefix: list[int] | None = []
    while prefix is not None:
        arch, taken = decided(space, prefix)
        yield arch, list(taken)
        while taken and taken[-1][0] == taken[-1][1] - 1:
            taken.pop()
        prefix = [answer for answer, _ in taken[:-1]] + [taken[-1][0] + 1] if taken else None


@pytest.mark.parametrize(
    "space,members",
    [
        (tiny_conv(), all_of_tiny_conv()),
        (tiny_conv(min_downsamples=2, skip=False), None),
        (tiny_mlp(), all_of_tiny_mlp()),
        (TINY_DARTS, None),
        (shipped("nasbench201"), None),
        (ToySpace(length=3, base=3), None),
    ],
    ids=["conv", "conv-2", "mlp", "darts", "nasbench201", "toy"],
)
def test_sequences_are_the_members_each_once(space: Any, members: list[Any] | None) -> None:
    found = [arch for arch, _ in sequences(space)]
    assert len(set(found)) == len(found) == space.size
    assert members is None or set(found) == set(members)
    assert all(space.parse(str(arch)) == arch for arch in found[:: max(len(found) // 300, 1)])
