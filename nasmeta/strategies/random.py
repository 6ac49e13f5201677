"""Random search: every trial is an independent draw from the space; none comes twice.

The baseline that any search has to beat (Li & Talwalkar 2019, arXiv:1902.07638). Choose it if trials are few,
or run in parallel and should wait for nothing.
"""

from nasmeta.strategies.base import Strategy
from nasmeta.trial import Proposal


class RandomSearch(Strategy):
    """Independent draws from the space. It has no state and no options."""

    def _ask(self, trial: int) -> Proposal:
        return Proposal(trial=trial, arch=self.draw(self.stream(trial)), iterations=self.iterations)
