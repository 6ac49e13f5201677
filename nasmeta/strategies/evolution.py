"""Regularized evolution (Real, Aggarwal, Huang & Le 2019, arXiv:1802.01548, algorithm 1).

The population is the last `population_size` trials. Each new trial mutates the best of `sample_size` members
drawn at random. The oldest member dies, however good it is, so an architecture stays only if it is found
again and does well again. This is the sound default for any space with a sensible notion of mutation.

Deviations: an architecture that is found again rejoins the population with the score it has. It is not
trained again and costs no trial. The members drawn are distinct. Failed trials are not members. With several
asks outstanding, trials join the population when they are told.
"""

from collections import deque
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from nasmeta.errors import ConfigError
from nasmeta.strategies.base import FEASIBLE_DRAWS, Start, Strategy, score_of
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Outcome, Proposal


class RegularizedEvolution(Strategy):
    """Regularized evolution; the first `population_size` trials are draws, which begin with `start`.

    sample_size: members drawn for each tournament.
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        population_size: Annotated[int, Field(ge=2)],
        sample_size: Annotated[int, Field(ge=1)],
        start: Start,
    ) -> None:
        super().__init__(context)
        if sample_size > population_size:
            raise ConfigError(
                f"strategy.sample_size: {sample_size} members cannot be drawn from a population of "
                f"{population_size}; at most strategy.population_size={population_size}"
            )
        self.population_size, self.sample_size, self.start = population_size, sample_size, start
        self.population: deque[Outcome] = deque(maxlen=population_size)
        self._scored: dict[Any, Outcome] = {}

    def _ask(self, trial: int) -> Proposal:
        rng = self.stream(trial)
        full = trial + self._earlier_trials >= self.population_size and self.population
        arch = self._child(rng) if full else self.draw(rng)
        return Proposal(trial=trial, arch=arch, iterations=self.iterations)

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
        return max(drawn, key=score_of).arch

    def _tell(self, told: Outcome) -> None:
        if told.score is not None:
            self.population.append(told)
            self._scored[told.arch] = told
