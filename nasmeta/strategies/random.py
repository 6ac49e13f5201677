"""Random search: every trial an independent draw from the space, none twice.

The baseline that any search has to beat (Li & Talwalkar 2019, arXiv:1902.07638), and the one to choose
when trials are few, or run in parallel with nothing to wait for.
"""

from nasmeta.strategies.base import Strategy
from nasmeta.trial import Proposal


class RandomSearch(Strategy):
    """See the module. No state and no options."""

    def _ask(self, trial: int) -> Proposal:
        rng = self.stream(trial)
        return Proposal(trial, self.fresh(lambda: self.space.sample(rng)), self.iterations)
