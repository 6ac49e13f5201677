"""The contracts of an architecture, of a search space, and of the networks it builds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from nasmeta import seeding
from nasmeta.errors import ArchitectureError, ConfigError
from nasmeta.search_spaces.count import Bits
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost, Limits

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.morphism import Weights
    from nasmeta.search_spaces.relaxation.mixture import RelaxedNetwork
    from nasmeta.search_spaces.sharing import Sharing


@runtime_checkable
class Architecture(Protocol):
    """One point of a space: frozen, equal and hashed by content; `str` is its canonical string."""

    def __str__(self) -> str: ...

    def __hash__(self) -> int: ...


A = TypeVar("A", bound=Architecture)

MAX_REPAIR_STEPS = 60
"""After so many steps, an architecture that is still too expensive is given up."""


class SearchSpace(ABC, Generic[A]):
    """A set of architectures: how to draw, edit, print, view and build them.

    operations: the labels that nodes of `graph` can have.

    Only methods that build networks or handle weights need torch. All randomness comes from the generator
    that is passed in.
    """

    operations: tuple[str, ...]

    @abstractmethod
    def initial(self) -> A:
        """The simplest sensible network, from which a search that grows networks starts."""

    @abstractmethod
    def reference(self) -> A:
        """The field's hand-designed network, the baseline that every search is compared with."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> A:
        """A random architecture; every architecture of the space has a positive probability."""

    @abstractmethod
    def mutate(self, arch: A, rng: np.random.Generator) -> A:
        """A random architecture one edit away from `arch`: in `neighbors(arch)`, never `arch` itself."""

    @abstractmethod
    def crossover(self, a: A, b: A, rng: np.random.Generator) -> A:
        """An architecture of the space whose every choice comes from `a` or from `b`."""

    @abstractmethod
    def neighbors(self, arch: A) -> Iterator[A]:
        """Every architecture at edit distance 1, each once, in a fixed order; never `arch` itself."""

    @abstractmethod
    def graph(self, arch: A) -> ArchitectureGraph:
        """Operations and adjacency, for predictors and graph searches."""

    def drawing(self, arch: A) -> ArchitectureGraph:
        """The graph to draw for a reader; by default `graph`."""
        return self.graph(arch)

    @abstractmethod
    def parse(self, text: str) -> A:
        """The architecture with canonical string `text`. Raises ArchitectureError that says what is wrong."""

    def contains(self, arch: A) -> bool:
        """Whether an architecture of this space, or of a larger one of its kind, can be drawn in this one."""
        try:
            return bool(self.parse(str(arch)) == arch)
        except ArchitectureError:
            return False

    @abstractmethod
    def build(self, arch: A, task: TaskSpec) -> FewShotNetwork:
        """The network for `task`. Raises ArchitectureError if it cannot take such inputs.

        Its forward pass must be a pure function of inputs and parameters: no random draws, no state between
        calls, and the same operations whatever the values. So it can be recorded, and run in threads.
        """

    def formula_cost(self, arch: A, task: TaskSpec, bits: Bits = 32) -> Cost | None:
        """What networks/cost.py counts, by formulas and without torch; None, the default: there are none.

        bits: the width of a number in a deployed network, for memory and flash.
        """
        return None

    def relaxed(self, task: TaskSpec, relaxation: Relaxation) -> RelaxedNetwork:
        """All networks of the space as one with a continuous architecture, for gradient-based search.

        Raises ConfigError if the space has no such network, or not for this relaxation.
        """
        raise ConfigError(
            "search_space: it has no continuous relaxation, since its architectures differ in more than the "
            "operations of a fixed graph; use search_space=nasbench201 or darts"
        )

    def canonical(self, arch: A) -> A:
        """The representative of all architectures known to be isomorphic to `arch`; by default `arch` itself.

        Equal results mean equal networks. Different results do not mean different networks.
        """
        return arch

    def part_for_round(self, number: int, rounds: int) -> SearchSpace[A]:
        """The part of the space that round `number` of `rounds` (from 1) searches; by default all of it.

        The part grows from round to round, and in the last one it is the whole space.
        """
        return self

    def buildable(self, task: TaskSpec) -> SearchSpace[A]:
        """The part of the space whose networks can be built for `task`; by default the whole space.

        A supernet is trained on what this part draws, and a vote of proxies compares with it.
        """
        return self

    def with_draws_for(self, task: TaskSpec, limits: Limits) -> SearchSpace[A]:
        """The same space, with draws whose networks for `task` cost about what the limits allow.

        Where a limit is None, the cost of the hand-designed network guides the draws. By default, draws do
        not depend on limits.
        """
        return self

    def relatives(self) -> list[A]:
        """Architectures to begin a search with: the reference, then its most promising variants."""
        return [self.reference()]

    def reference_within(self, fits: Callable[[A], bool]) -> A:
        """The hand-designed network to compare with under limits: the reference, made cheaper until it fits.

        Edits may not lead to it, but `parse` reads it. If nothing fits, it is the reference.
        """
        reference = self.reference()
        return self.repair(reference, fits, seeding.stream(0, "reference")) or reference

    def repair(self, arch: A, fits: Callable[[A], bool], rng: np.random.Generator) -> A | None:
        """`arch`, made cheaper step by step until it fits; None if MAX_REPAIR_STEPS steps do not suffice."""
        repaired: A | None = arch
        for _ in range(MAX_REPAIR_STEPS):
            if repaired is None or fits(repaired):
                return repaired
            repaired = self.cheaper(repaired, rng)
        return None

    def cheaper(self, arch: A, rng: np.random.Generator) -> A | None:
        """An architecture a small step away that costs less; None, the default, if there is none."""
        return None

    def morph(self, old: A, new: A, weights: Weights, fresh: Weights, rng: np.random.Generator) -> Weights:
        """Parameters for a network of `new` that start from `weights`, which a network of `old` has learned.

        If the space knows how, the new network computes the same function (see its weights.py). By default,
        values with the same name and shape are copied. fresh: the initial parameters of a new network; the
        result has their names and shapes.
        """
        from nasmeta.search_spaces.morphism import copied

        return copied(weights, fresh)

    def sharing(self, task: TaskSpec) -> Sharing[A]:
        """How the networks of this space share one set of weights. Raises ConfigError if they cannot."""
        raise ConfigError(
            "search_space: it does not say how its networks share weights; use search_space=conv, mlp, "
            "nasbench201 or darts, or evaluator=scratch"
        )

    @property
    def used_operations(self) -> tuple[str, ...]:
        """The operations that its networks may have, as configured; by default all that there are."""
        return self.operations

    @property
    def size(self) -> int | None:
        """The number of architectures; None if it is not known."""
        return None
