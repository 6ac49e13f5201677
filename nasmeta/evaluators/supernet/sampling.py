"""Which sub-networks a meta-iteration of the shared weights trains.

uniform: one, with every decision drawn evenly among its options (Guo et al. 2020, arXiv:1904.00420, section
3.3).

fair: as many as the decision with the most options has, all trained on the same tasks before one step. Every
decision goes through all its options before any comes again, each time in a new random order. If all
decisions have equally many options, as on the edges of a cell, this is the strict fairness of FairNAS (Chu et
al. 2021, arXiv:1907.01845, algorithm 1: each choice once per iteration). If not, or if only some
architectures have a decision, an option was taken at most once more than another one of its decision, and
equally often whenever a round of the decision is complete.

Both draw from the part of the space that can be built for the tasks (SearchSpace.buildable), so that this
holds on small images too. If the space still cannot build a draw, it is drawn again. Only networks that are
trained count as taken. The new draw keeps a random number of the refused one's first decisions fair, and
draws the others evenly: the earlier a decision comes, the closer it stays to fair.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from nasmeta import seeding
from nasmeta.errors import ConfigError
from nasmeta.search_spaces.decisions import Choose, Decidable

Sampling = Literal["uniform", "fair"]
T = TypeVar("T")

DRAWS = 1000
"""After so many draws in a row that cannot be built, there is nothing to train."""

Buildable = Callable[[Any], bool]
Paths = Iterator[list[Any]]
"""The architectures that each meta-iteration trains, from the first on."""


def uniform(space: Decidable[Any], seed: int, buildable: Buildable) -> Paths:
    """One architecture per meta-iteration."""
    rng = seeding.stream(seed, "supernet", "uniform")

    def choose(kind: str, options: Sequence[T]) -> T:
        return options[int(rng.integers(len(options)))]

    while True:
        yield [_drawn(lambda: space.decide(choose), buildable)]


def fair(space: Decidable[Any], seed: int, buildable: Buildable) -> Paths:
    """Per meta-iteration, as many architectures as the decision with the most options has."""
    choices = _LeastTaken(seeding.stream(seed, "supernet", "fair"))
    paths = max(len(options) for options in space.decisions.values())
    while True:
        yield [choices.architecture(space, buildable) for _ in range(paths)]


SAMPLINGS: dict[Sampling, Callable[[Decidable[Any], int, Buildable], Paths]] = {
    "uniform": uniform,
    "fair": fair,
}


Decision = tuple[str, int, tuple[object, ...]]
"""A decision's kind, its position among those of its kind in the architecture, and its options."""


class _LeastTaken:
    """Answers every decision by an option that was taken least often so far; random if there are several."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.taken: dict[Decision, list[int]] = {}

    def architecture(self, space: Decidable[Any], buildable: Buildable) -> Any:
        """The next architecture to train. The module explains draws that cannot be built."""
        answers: list[tuple[Decision, int]] = []
        fair_ones: float = math.inf

        def draw() -> Any:
            nonlocal fair_ones
            if answers:  # the last draw was refused
                fair_ones = int(self.rng.integers(len(answers)))
                answers.clear()
            return space.decide(self._choose(answers, fair_ones))

        arch = _drawn(draw, buildable)
        for decision, option in answers:
            self.taken[decision][option] += 1
        return arch

    def _choose(self, answers: list[tuple[Decision, int]], fair_ones: float) -> Choose:
        """Records every decision and its chosen option in `answers`; the first `fair_ones` are fair."""
        places: dict[str, int] = {}

        def choose(kind: str, options: Sequence[T]) -> T:
            place = places[kind] = places.get(kind, -1) + 1
            decision = kind, place, tuple(options)
            taken = self.taken.setdefault(decision, [0] * len(options))
            most = min(taken) if len(answers) < fair_ones else max(taken)
            candidates = [number for number, count in enumerate(taken) if count <= most]
            option = candidates[int(self.rng.integers(len(candidates)))]
            answers.append((decision, option))
            return options[option]

        return choose


def _drawn(draw: Callable[[], Any], buildable: Buildable) -> Any:
    for _ in range(DRAWS):
        arch = draw()
        if buildable(arch):
            return arch
    raise ConfigError(
        f"search_space: none of {DRAWS} random architectures can be built for these tasks; "
        "use fewer downsamplings or larger images"
    )
