"""No search: the architectures that the user names are trained in full. What `nasmeta train` runs."""

from typing import Any

from nasmeta.errors import ArchitectureError
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Proposal


class Given(Strategy):
    """Proposes no trial, and has the final candidates chosen before the search.

    architectures: their strings. Raises ArchitectureError if one is not in the search space, or cannot be
    built for the run's tasks within its constraints.
    """

    learns = False
    open_ended = False

    def __init__(self, *, context: SearchContext, architectures: list[str]) -> None:
        super().__init__(context)
        self.trials = 0
        self._given = [context.space.parse(text) for text in architectures]
        for arch in self._given:
            context.costs(arch)  # raises if it cannot be built
            if not context.feasible(arch):
                raise ArchitectureError(
                    f"{arch}: does not meet the constraints; leave them out or relax them"
                )

    def chosen(self) -> list[Any]:
        return self._given

    def _ask(self, trial: int) -> Proposal | None:
        return None  # never asked: there are no trials
