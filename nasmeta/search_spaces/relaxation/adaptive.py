"""A space with one more architecture, `adaptive`: the relaxed network, from which each task takes its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.count import Bits
from nasmeta.search_spaces.decisions import Choose, Decidable
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost, Limits

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.morphism import Weights
    from nasmeta.search_spaces.relaxation.mixture import RelaxedNetwork
    from nasmeta.search_spaces.sharing import Sharing


@dataclass(frozen=True, slots=True)
class Adaptive:
    """The architecture that stands for all architectures of a space at once."""

    def __str__(self) -> str:
        return "adaptive"


ADAPTIVE = Adaptive()


class AdaptiveSpace(SearchSpace[Any]):
    """The architectures of `space`, and `adaptive`, which is parsed, drawn as a graph and built.

    No draw and no edit leads to `adaptive`, and all else is for the architectures of `space` alone.
    """

    def __init__(self, space: SearchSpace[Any], relaxation: Relaxation) -> None:
        self.space, self.relaxation = space, relaxation
        self.operations = space.operations

    # What `adaptive` is

    def parse(self, text: str) -> Any:
        return ADAPTIVE if text == str(ADAPTIVE) else self.space.parse(text)

    def contains(self, arch: Any) -> bool:
        return arch == ADAPTIVE or self.space.contains(arch)

    def graph(self, arch: Any) -> ArchitectureGraph:
        """Of `adaptive`, input and output only: what is between them differs from task to task."""
        return GraphBuilder().finish(0) if arch == ADAPTIVE else self.space.graph(arch)

    def drawing(self, arch: Any) -> ArchitectureGraph:
        return self.graph(arch) if arch == ADAPTIVE else self.space.drawing(arch)

    def build(self, arch: Any, task: TaskSpec) -> "FewShotNetwork":
        return self.space.relaxed(task, self.relaxation) if arch == ADAPTIVE else self.space.build(arch, task)

    def formula_cost(self, arch: Any, task: TaskSpec, bits: Bits = 32) -> Cost | None:
        return None if arch == ADAPTIVE else self.space.formula_cost(arch, task, bits)

    # What all other architectures are in `space`

    def initial(self) -> Any:
        return self.space.initial()

    def reference(self) -> Any:
        return self.space.reference()

    def relatives(self) -> list[Any]:
        return self.space.relatives()

    def reference_within(self, fits: Callable[[Any], bool]) -> Any:
        return self.space.reference_within(fits)

    def cheaper(self, arch: Any, rng: np.random.Generator) -> Any:
        return self.space.cheaper(arch, rng)

    def sample(self, rng: np.random.Generator) -> Any:
        return self.space.sample(rng)

    def mutate(self, arch: Any, rng: np.random.Generator) -> Any:
        return self.space.mutate(arch, rng)

    def crossover(self, a: Any, b: Any, rng: np.random.Generator) -> Any:
        return self.space.crossover(a, b, rng)

    def neighbors(self, arch: Any) -> Iterator[Any]:
        return self.space.neighbors(arch)

    def canonical(self, arch: Any) -> Any:
        return self.space.canonical(arch)

    def morph(
        self, old: Any, new: Any, weights: "Weights", fresh: "Weights", rng: np.random.Generator
    ) -> "Weights":
        return self.space.morph(old, new, weights, fresh, rng)

    def relaxed(self, task: TaskSpec, relaxation: Relaxation) -> "RelaxedNetwork":
        return self.space.relaxed(task, relaxation)

    def sharing(self, task: TaskSpec) -> "Sharing[Any]":
        return self.space.sharing(task)

    def part_for_round(self, number: int, rounds: int) -> "AdaptiveSpace":
        return with_adaptive(self.space.part_for_round(number, rounds), self.relaxation)

    def buildable(self, task: TaskSpec) -> "AdaptiveSpace":
        return with_adaptive(self.space.buildable(task), self.relaxation)

    def with_draws_for(self, task: TaskSpec, limits: Limits) -> "AdaptiveSpace":
        return with_adaptive(self.space.with_draws_for(task, limits), self.relaxation)

    @property
    def used_operations(self) -> tuple[str, ...]:
        return self.space.used_operations

    @property
    def size(self) -> int | None:
        return self.space.size


class DecidableAdaptiveSpace(AdaptiveSpace):
    """An AdaptiveSpace over a space whose architectures are decided step by step; never as `adaptive`."""

    space: Any

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        decisions: Mapping[str, Sequence[object]] = self.space.decisions
        return decisions

    def decide(self, choose: Choose) -> Any:
        return self.space.decide(choose)


def with_adaptive(space: SearchSpace[Any], relaxation: Relaxation) -> AdaptiveSpace:
    """The same space, which also parses and builds `adaptive`; it is decidable if `space` is."""
    kind = DecidableAdaptiveSpace if isinstance(space, Decidable) else AdaptiveSpace
    return kind(space, relaxation)
