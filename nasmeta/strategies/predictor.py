"""Bayesian optimization with an ensemble of graph networks: BANANAS.

White, Neiswanger & Savani 2021, arXiv:1910.11858, algorithm 1. After `initial` trials, each ask trains the
ensemble on the scores so far, draws candidates (mutations of the best, and random ones), and proposes the one
with the highest acquisition. Choose it if a trial costs much more than a fraction of a second: it needs the
fewest trials. surrogate/sampler.py has the model.

Deviations from the paper:
- The networks see the architecture's graph instead of its path encoding, so any space works. They use graph
  convolutions in both directions, as in Wen et al. 2020, arXiv:1912.00848, and Shi et al. 2020,
  arXiv:1911.09336.
- They learn normal scores of the ranks, not accuracies.
- They are trained a little more at every ask, not anew after every ten trials.
- Expected improvement is the default, not Thompson sampling.
"""

from typing import Annotated

from pydantic import Field

from nasmeta.strategies.base import Start, Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.strategies.surrogate.sampler import FEWEST_SCORES, Acquisition, ModelSampler
from nasmeta.trial import Outcome, Proposal


class Predictor(Strategy):
    """Proposes what a ModelSampler with `acquisition`, `mutants` and `immigrants` holds to be promising.

    initial: the trials before that, which begin with `start`.
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        initial: Annotated[int, Field(ge=FEWEST_SCORES)],
        start: Start,
        acquisition: Acquisition,
        mutants: Annotated[int, Field(ge=1)],
        immigrants: Annotated[int, Field(ge=0)],
    ) -> None:
        super().__init__(context)
        self.initial, self.start = initial, start
        self._sampler = ModelSampler(
            self.space, self._feasible, acquisition=acquisition, mutants=mutants, immigrants=immigrants
        )
        self._told: list[Outcome] = []

    def _tell(self, told: Outcome) -> None:
        self._told.append(told)

    def _ask(self, trial: int) -> Proposal:
        rng = self.stream(trial)
        arch = None
        if trial + self._earlier_trials >= self.initial:
            pending = [proposal.arch for proposal in self._outstanding.values()]
            arch = self._sampler.propose(self._told, pending, self._seen, rng)
        if arch is None:
            arch = self.draw(rng)
        return Proposal(trial=trial, arch=arch, iterations=self.iterations)
