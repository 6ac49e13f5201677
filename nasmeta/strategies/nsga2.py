"""NSGA-II: a whole front of networks, accuracy against what they cost (Deb et al. 2002).

A population has `population_size` architectures. Each generation breeds as many children by binary
tournaments, crossover and mutation. The best of parents and children survive, front by front; of the front
that does not fit whole, those with the largest crowding distance. Choose it if there is no single limit on
size and you want the trade-off itself: the run keeps a checkpoint of every network that no other one beats in
all objectives. Lu et al. 2019 (NSGA-Net, arXiv:1810.03522) brought it to architecture search.

Constraints of the run are hard: an architecture that breaks them is never proposed. Failed trials are
dominated by all others (constrained domination). Deviations: no architecture is evaluated twice while
variation offers new ones; a mutation is one edit of the space, while the paper flips each variable with
probability 1/n. With several asks outstanding, nothing waits: children are bred from the latest parents, and
a generation ends with every `population_size` tells.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from nasmeta.errors import ConfigError, RunFailed, suggest
from nasmeta.strategies.base import OBJECTIVES, Start, Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.strategies.pareto import Point, crowding, fronts
from nasmeta.trial import Outcome, Proposal

Share = Annotated[float, Field(ge=0, le=1)]


class Member(NamedTuple):
    """A survivor, with its front (0 is the best) and its crowding distance in that front."""

    told: Outcome
    front: int
    distance: float


class NSGA2(Strategy):
    """NSGA-II with `population_size` members; it maximizes the score and minimizes `objectives`.

    The first population is drawn; it begins with `start`.
    objectives: names of OBJECTIVES, each once; any other list is a ConfigError. crossover_prob,
    mutation_prob: probabilities.
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        population_size: Annotated[int, Field(ge=2)],
        start: Start,
        objectives: Annotated[list[str], Field(min_length=1)],
        crossover_prob: Share,
        mutation_prob: Share,
    ) -> None:
        super().__init__(context)
        for name in objectives:
            if name not in OBJECTIVES:
                raise ConfigError(f"strategy.objectives: {name!r} is unknown; {suggest(name, OBJECTIVES)}")
        if len(set(objectives)) < len(objectives):
            raise ConfigError(f"strategy.objectives: {objectives} lists one twice; list each once")
        self.objectives = tuple(objectives)
        self.size, self.start = population_size, start
        self.crossover_prob, self.mutation_prob = crossover_prob, mutation_prob
        self.parents: list[Member] = []
        self.children: list[Outcome] = []

    def _ask(self, trial: int) -> Proposal:
        rng = self.stream(trial)
        arch = self.fresh(lambda: self._child(rng)) if self.parents else self.draw(rng)
        return Proposal(trial=trial, arch=arch, iterations=self.iterations)

    def _child(self, rng: np.random.Generator) -> Any:
        """Crossover of two tournament winners, then a mutation, each with its probability."""
        child = self._winner(rng)
        if rng.random() < self.crossover_prob:
            child = self.space.crossover(child, self._winner(rng), rng)
        if rng.random() < self.mutation_prob:
            child = self.space.mutate(child, rng)
        return child

    def _winner(self, rng: np.random.Generator) -> Any:
        """The better of two random parents: the lower front, then the larger crowding distance."""
        first, second = (self.parents[i] for i in rng.choice(len(self.parents), 2, replace=False))
        better = min(first, second, key=lambda member: (member.front, -member.distance))
        return better.told.arch

    def warm_start(self, history: Sequence[Outcome]) -> None:
        """Makes the best of another search the first parents, if it had enough trials for a population."""
        self._earlier: list[Outcome] = []
        super().warm_start(history)
        if len(history) >= self.size:
            self.parents = self._survivors(self._earlier)

    def _tell_earlier(self, told: Outcome) -> None:
        """Only notes the trial: `learn` takes all of them at once."""
        self._earlier.append(told)

    def _tell(self, told: Outcome) -> None:
        self.children.append(told)
        if len(self.children) == self.size:
            everyone = [member.told for member in self.parents] + self.children
            self.parents = self._survivors(sorted(everyone, key=lambda t: t.trial))
            self.children = []

    def _survivors(self, everyone: list[Outcome]) -> list[Member]:
        points = [self._point(told) for told in everyone]
        survivors: list[Member] = []
        for number, front in enumerate(fronts(points)):
            distances = crowding([points[i] for i in front])
            members = [Member(everyone[i], number, d) for i, d in zip(front, distances, strict=True)]
            members.sort(key=lambda member: -member.distance)
            survivors += members[: self.size - len(survivors)]
        return survivors

    def _point(self, told: Outcome) -> Point:
        """The objectives of a trial, all to be minimized; a failure is infinite in all of them."""
        if told.score is None:
            return (math.inf,) * (1 + len(self.objectives))
        costs = [told.costs.get(name) for name in self.objectives]
        unknown = [name for name, cost in zip(self.objectives, costs, strict=True) if cost is None]
        if unknown:
            raise RunFailed(
                f"strategy.objectives: the evaluator does not know the {unknown[0]} of {told.arch}; "
                "use evaluator=scratch or other objectives"
            )
        return (-told.score, *(float(cost or 0) for cost in costs))
