"""Which sub-networks a meta-iteration of the shared weights trains.

uniform: one, every decision drawn evenly among its options (Guo et al. 2020, arXiv:1904.00420, section 3.3).
fair: as many as the decision with the most options has options, trained on the same tasks before one step;
every decision goes through all its options before any comes again, in a new random order each time. Where
all decisions have equally many options, as on the edges of a cell, this is the strict fairness of FairNAS
(Chu et al. 2021, arXiv:1907.01845, algorithm 1: each choice once an iteration). Where they have not, or where
a decision is met in some architectures only, an option has been taken at most once more than another of its
decision: equally often whenever a round of it is complete.

A draw that cannot be built for the tasks (more downsamplings than an image has rows for) is drawn again.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from nasmeta import seeding
from nasmeta.errors import ConfigError
from nasmeta.search_spaces.decisions import Decidable

Sampling = Literal["uniform", "fair"]
T = TypeVar("T")

DRAWS = 1000
"""Draws in a row that cannot be built after which there is nothing to train."""

Buildable = Callable[[Any], bool]
Paths = Iterator[list[Any]]
"""What each meta-iteration trains, from the first on."""


def uniform(space: Decidable[Any], seed: int, buildable: Buildable) -> Paths:
    """One architecture a meta-iteration."""
    rng = seeding.stream(seed, "supernet", "uniform")

    def choose(kind: str, options: Sequence[T]) -> T:
        return options[int(rng.integers(len(options)))]

    while True:
        yield [_drawn(lambda: space.decide(choose), buildable)]


def fair(space: Decidable[Any], seed: int, buildable: Buildable) -> Paths:
    """As many architectures a meta-iteration as the decision with the most options has."""
    choices = _Rounds(seeding.stream(seed, "supernet", "fair"))
    paths = max(len(options) for options in space.decisions.values())
    while True:
        yield [_drawn(lambda: choices.architecture(space), buildable) for _ in range(paths)]


SAMPLINGS: dict[Sampling, Callable[[Decidable[Any], int, Buildable], Paths]] = {
    "uniform": uniform,
    "fair": fair,
}


class _Rounds:
    """Answers decisions so that each goes through all its options, in random order, before any comes again.

    A decision is its kind, its place among those of its kind in the architecture, and its options.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.left: dict[tuple[str, int, tuple[object, ...]], list[int]] = {}

    def architecture(self, space: Decidable[Any]) -> Any:
        places: dict[str, int] = {}

        def choose(kind: str, options: Sequence[T]) -> T:
            place = places[kind] = places.get(kind, -1) + 1
            left = self.left.setdefault((kind, place, tuple(options)), [])
            if not left:
                left.extend(self.rng.permutation(len(options)).tolist())
            return options[left.pop()]

        return space.decide(choose)


def _drawn(draw: Callable[[], Any], buildable: Buildable) -> Any:
    for _ in range(DRAWS):
        arch = draw()
        if buildable(arch):
            return arch
    raise ConfigError(
        f"search_space: none of {DRAWS} random architectures can be built for these tasks; "
        "use fewer downsamplings or larger images"
    )
