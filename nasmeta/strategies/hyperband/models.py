"""New architectures from a model of the scores at each budget, in the manner of BOHB.

Falkner, Klein & Hutter 2018, arXiv:1807.01774, algorithm 2: Hyperband decides how long each architecture is
trained, and a model decides which ones are. The model in use is that of the largest budget at which enough
trials are told. A share of the architectures is drawn at random all the same, so that a wrong model cannot
cost more than that factor.

Deviations from the paper, for which this is not called BOHB:
- The model is the ensemble of graph networks of surrogate/sampler.py with its expected improvement, not a
  pair of kernel densities: the architectures of most spaces are no vectors of one length.
- Candidates are mutants of the best and random draws, not draws from the density of the good ones.
- A budget needs a fixed number of trials, not two more than the space has dimensions.
- Outstanding trials are learned with their predicted score; the paper ignores them.
"""

from collections import defaultdict
from collections.abc import Container, Iterable
from typing import Any

import numpy as np

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.strategies.context import Feasible
from nasmeta.strategies.surrogate.sampler import ModelSampler
from nasmeta.trial import Outcome, Proposal

MUTANTS, IMMIGRANTS = 100, 25
"""The candidates of a proposal: mutants of the best trials of its budget, and random architectures."""


class BudgetModels:
    """A model of each budget's scores, which proposes feasible architectures of `space`.

    least: the trials told at a budget from which on its model is used. random_share: how many of the
    proposals are left to chance all the same.
    """

    def __init__(self, space: SearchSpace[Any], feasible: Feasible, least: int, random_share: float) -> None:
        self._least, self._random_share = least, random_share
        self._told: dict[int, list[Outcome]] = defaultdict(list)
        self._samplers: dict[int, ModelSampler] = defaultdict(
            lambda: ModelSampler(space, feasible, acquisition="ei", mutants=MUTANTS, immigrants=IMMIGRANTS)
        )

    def tell(self, told: Outcome) -> None:
        self._told[told.iterations].append(told)

    def propose(
        self, outstanding: Iterable[Proposal], seen: Container[Any], rng: np.random.Generator
    ) -> Any | None:
        """An architecture to start with; None if it is to be a random one."""
        budgets = [budget for budget, told in self._told.items() if len(told) >= self._least]
        if not budgets or rng.random() < self._random_share:
            return None
        budget = max(budgets)
        known = {told.arch for told in self._told[budget]}
        pending = [proposal.arch for proposal in outstanding if proposal.arch not in known]
        return self._samplers[budget].propose(self._told[budget], pending, seen, rng)
