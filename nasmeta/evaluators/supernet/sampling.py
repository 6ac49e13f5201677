"""Which sub-networks a meta-iteration of the shared weights trains.

uniform: one, with every decision drawn evenly among its options (Guo et al. 2020, arXiv:1904.00420, section
3.3).

fair: as many as the decision with the most options has, all trained on the same tasks before one step. Every
decision goes through all its options before any comes again, each time in a new random order. If all
decisions have equally many options, as on the edges of a cell, this is the strict fairness of FairNAS (Chu et
al. 2021, arXiv:1907.01845, algorithm 1: each choice once per iteration). If not, or if only some
architectures have a decision, an option was taken at most once more than another one of its decision, and
equally often whenever a round of the decision is complete.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from nasmeta import seeding
from nasmeta.search_spaces.decisions import Decidable

PathSampling = Literal["uniform", "fair"]
T = TypeVar("T")

Paths = Iterator[list[Any]]
"""The architectures that each meta-iteration trains, from the first on."""


def uniform(space: Decidable[Any], seed: int) -> Paths:
    """One architecture per meta-iteration."""
    rng = seeding.stream(seed, "supernet", "uniform")

    def choose(kind: str, options: Sequence[T]) -> T:
        return options[int(rng.integers(len(options)))]

    while True:
        yield [space.decide(choose)]


def fair(space: Decidable[Any], seed: int) -> Paths:
    """Per meta-iteration, as many architectures as the decision with the most options has."""
    rng = seeding.stream(seed, "supernet", "fair")
    # A decision is its kind, its position among those of its kind in the architecture, and its options.
    taken: dict[tuple[str, int, tuple[object, ...]], list[int]] = {}

    def architecture() -> Any:
        positions: Counter[str] = Counter()

        def choose(kind: str, options: Sequence[T]) -> T:
            """One of the options that were taken least often so far."""
            counts = taken.setdefault((kind, positions[kind], tuple(options)), [0] * len(options))
            positions[kind] += 1
            least = [number for number, count in enumerate(counts) if count == min(counts)]
            chosen = least[int(rng.integers(len(least)))]
            counts[chosen] += 1
            return options[chosen]

        return space.decide(choose)

    paths = max(len(options) for options in space.decisions.values())
    while True:
        yield [architecture() for _ in range(paths)]


SAMPLINGS: dict[PathSampling, Callable[[Decidable[Any], int], Paths]] = {"uniform": uniform, "fair": fair}
