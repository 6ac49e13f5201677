"""A search space that is small enough to enumerate: vectors of digits, where an edit changes one digit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskSpec


@dataclass(frozen=True)
class Digits:
    """A vector of digits, printed like "0-3-1"."""

    values: tuple[int, ...]

    def __str__(self) -> str:
        return "-".join(map(str, self.values))


class ToySpace(SearchSpace[Digits]):
    """Vectors of `length` digits in [0, base); no network can be built from them."""

    operations = ("input", "digit", "output")

    def __init__(self, length: int, base: int) -> None:
        self.length, self.base = length, base

    def initial(self) -> Digits:
        return Digits((0,) * self.length)

    def reference(self) -> Digits:
        return Digits((self.base // 2,) * self.length)

    def sample(self, rng: np.random.Generator) -> Digits:
        return Digits(tuple(int(v) for v in rng.integers(0, self.base, self.length)))

    def mutate(self, arch: Digits, rng: np.random.Generator) -> Digits:
        options = list(self.neighbors(arch))
        return options[int(rng.integers(len(options)))]

    def crossover(self, a: Digits, b: Digits, rng: np.random.Generator) -> Digits:
        chosen = rng.random(self.length) < 0.5
        return Digits(tuple(x if c else y for x, y, c in zip(a.values, b.values, chosen, strict=True)))

    def neighbors(self, arch: Digits) -> Iterator[Digits]:
        for position, value in product(range(self.length), range(self.base)):
            if value != arch.values[position]:
                yield Digits((*arch.values[:position], value, *arch.values[position + 1 :]))

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        return {"digit": range(self.base)}

    def decide(self, choose: Choose) -> Digits:
        return Digits(tuple(choose("digit", range(self.base)) for _ in range(self.length)))

    def graph(self, arch: Digits) -> ArchitectureGraph:
        n = self.length + 2
        return ArchitectureGraph(
            ("input", *("digit",) * self.length, "output"), np.eye(n, k=1, dtype=bool), (0, *arch.values, 0)
        )

    def parse(self, text: str) -> Digits:
        try:
            values = tuple(int(part) for part in text.split("-"))
        except ValueError as error:
            raise ArchitectureError(f"{text!r} is not a vector of digits") from error
        if len(values) != self.length or not all(0 <= v < self.base for v in values):
            raise ArchitectureError(f"{text!r} is not {self.length} digits below {self.base}")
        return Digits(values)

    def build(self, arch: Digits, task: TaskSpec) -> FewShotNetwork:
        raise ArchitectureError("the toy space builds no networks")

    @property
    def size(self) -> int:
        return int(self.base**self.length)


def distance_score(arch: Digits) -> float:
    """A score whose maximum, 0, is at the digits 1, 2, 3, ...; each step away from a digit costs 1."""
    return -float(sum(abs(value - i - 1) for i, value in enumerate(arch.values)))
