"""No search: the architecture that the user names is trained in full. What `nasmeta train` runs."""

from typing import Any

from nasmeta.errors import ArchitectureError
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Proposal


class Given(Strategy):
    """Proposes no trial: the only final candidate is chosen before the search.

    architecture: its string. Raises ArchitectureError if it is not in the search space, or cannot be built
    for the run's tasks within its constraints.
    """

    warm_starts = False
    open_ended = False

    def __init__(self, *, context: SearchContext, architecture: str) -> None:
        super().__init__(context)
        self.trials = 0
        self._arch = context.space.parse(architecture)
        context.costs(self._arch)  # raises if it cannot be built
        if not context.feasible(self._arch):
            raise ArchitectureError(
                f"{self._arch}: does not meet the constraints; leave them out or relax them"
            )

    def chosen(self) -> list[Any]:
        return [self._arch]

    def _ask(self, trial: int) -> Proposal | None:
        return None  # never asked: there are no trials
