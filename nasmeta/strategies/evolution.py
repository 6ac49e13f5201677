"""Regularized evolution (Real, Aggarwal, Huang & Le 2019, arXiv:1802.01548, algorithm 1).

The population is the last `population_size` trials. Each new trial mutates the best of `sample_size` members
drawn at random. The oldest member dies, however good it is, so an architecture stays only if it is found
again and does well again. This is the sound default for any space with a sensible notion of mutation.

Deviations: an architecture that is found again rejoins the population with the score it has. It is not
trained again and costs no trial. The members drawn are distinct. Failed trials are not members. With several
asks outstanding, trials join the population when they are told.
"""

from collections import deque
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from nasmeta.errors import ConfigError
from nasmeta.strategies.base import FEASIBLE_DRAWS, Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Outcome, Proposal


class RegularizedEvolution(Strategy):
    """Regularized evolution; the first `population_size` trials are random draws.

    start: what the first trials are, as far as the constraints allow: "reference", the space's hand-designed
    network and its relatives; "initial", its simplest network; "random", draws alone.

    sample_size: members drawn for each tournament.
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        population_size: Annotated[int, Field(ge=2)],
        sample_size: Annotated[int, Field(ge=1)],
        start: Literal["random", "initial", "reference"],
    ) -> None:
        super().__init__(context)
        if sample_size > population_size:
            raise ConfigError(
                f"strategy.sample_size: {sample_size} members cannot be drawn from a population of "
                f"{population_size}; at most strategy.population_size={population_size}"
            )
        self.sample_size = sample_size
        self.start = start
        self.population: deque[Outcome] = deque(maxlen=population_size)
        self._scored: dict[Any, Outcome] = {}
        self._warmup = population_size

    def _ask(self, trial: int) -> Proposal:
        rng = self.stream(trial)
        arch = None
        if trial + self._learned >= self._warmup and self.population:
            arch = self._child(rng)
        elif not self._learned:
            arch = self._first(trial)
        if arch is None:
            arch = self.fresh(lambda: self.space.sample(rng))
        return Proposal(trial=trial, arch=arch, iterations=self.iterations)

    def _first(self, trial: int) -> Any | None:
        """What trial `trial` of the first population begins with; None if it is a random draw."""
        if self.start == "reference":
            return self.new_relative()
        initial = self.space.initial()
        return initial if self.start == "initial" and trial == 0 and self._feasible(initial) else None

    def _child(self, rng: np.random.Generator) -> Any:
        """The next mutation that was never proposed. Repeats found on the way rejoin the population."""
        for _ in range(FEASIBLE_DRAWS):
            child = self.space.mutate(self._parent(rng), rng)
            if child not in self._scored:
                child = self.space.repair(child, self._feasible, rng)
            if child in self._scored:
                self.population.append(self._scored[child])
            elif child is not None and child not in self._seen:
                return child
        return self.fresh(lambda: self.space.mutate(self._parent(rng), rng))

    def _parent(self, rng: np.random.Generator) -> Any:
        """The best of a tournament."""
        count = min(self.sample_size, len(self.population))
        drawn = [self.population[i] for i in rng.choice(len(self.population), count, replace=False)]
        return max(drawn, key=_score).arch

    def _tell(self, told: Outcome) -> None:
        if told.score is not None:
            self.population.append(told)
            self._scored[told.arch] = told


def _score(told: Outcome) -> float:
    assert told.score is not None
    return told.score
