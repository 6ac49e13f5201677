"""Local search with restarts (White, Nolen & Savani 2021, arXiv:2005.02960, algorithm 1).

From an architecture it moves to a better neighbour until there is none. `query: all` evaluates the
whole neighbourhood and moves to the best (the paper's algorithm). `query: first` looks at neighbours in
random order and moves to the first better one (the paper's "query until lower"). At a local optimum it
restarts. No architecture is evaluated twice: known scores guide later walks at no cost. Choose it if one edit
changes the score little and neighbourhoods are small compared to the budget.

A walk starts at the best of `starts` draws, which begin with `start` (the paper: 1 random one, and 10 as a
variant), or at the best of what another search taught. With several
asks outstanding, `all` waits for the end of a neighbourhood; `first` does not wait while it has neighbours
left. Both wait for a start. Failed and infeasible neighbours are never better than the current architecture.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from nasmeta.strategies.base import Start, Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Outcome, Proposal


class LocalSearch(Strategy):
    """Local search; the module explains `query`, `starts` and `start`.

    It ends before its trials are used up if random draws find no new architecture to start from.
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        query: Literal["all", "first"],
        starts: Annotated[int, Field(ge=1)],
        start: Start,
    ) -> None:
        super().__init__(context)
        self._query = query
        self._wanted, self.start = starts, start
        self._drawn: list[Any] = []  # this walk's draws so far
        self._current: Any = None  # where the walk is; None while it has no start
        self._neighbors: list[Any] = []
        self._unasked: list[Any] = []  # the neighbours not looked at yet, the next one last
        self._scores: dict[Any, float | None] = {}  # None: failed or infeasible

    def _ask(self, trial: int) -> Proposal | None:
        arch = self._next(trial)
        if arch is None:
            return None
        if self._current is None:
            self._drawn.append(arch)
        return Proposal(trial=trial, arch=arch, iterations=self.iterations)

    def _tell(self, told: Outcome) -> None:
        self._scores[told.arch] = told.score
        if len(self._drawn) == self._wanted and all(arch in self._scores for arch in self._drawn):
            start = max(self._drawn, key=self._score)
            self._drawn = []
            if self._scores[start] is not None:
                self._move(start)
        if self._query == "first":
            while better := self._better():
                self._move(better[0])

    def warm_start(self, history: Sequence[Outcome]) -> None:
        """Takes over the scores, and starts the first walk at the best of them."""
        super().warm_start(history)
        if any(told.score is not None for told in history):
            self._move(max(self._scores, key=self._score))

    def _tell_earlier(self, told: Outcome) -> None:
        self._scores[told.arch] = told.score

    def _exhausted(self) -> bool:
        return self._next(self._asked) is None

    def _next(self, trial: int) -> Any | None:
        """What to evaluate now; None if that depends on outstanding scores, or nothing is left.

        It changes its state only by known scores, so another call without a new score gives the same.
        """
        while self._current is not None:
            while self._unasked:
                arch = self._unasked[-1]
                if arch not in self._seen:
                    if self._feasible(arch):
                        return arch
                    self._scores[arch] = None
                self._unasked.pop()
            if any(arch not in self._scores for arch in self._neighbors):
                return None
            if better := self._better():
                self._move(max(better, key=self._score))
            else:
                self._current = None
        if len(self._drawn) == self._wanted:
            return None
        arch = self.draw(self.stream(trial))
        return None if arch in self._seen else arch

    def _move(self, arch: Any) -> None:
        self._current = arch
        self._neighbors = self.neighbors(arch)
        self._unasked = self._neighbors[::-1]

    def _better(self) -> list[Any]:
        """The neighbours known to be better than the current architecture, in the order of looking."""
        if self._current is None:
            return []
        here = self._score(self._current)
        return [arch for arch in self._neighbors if self._score(arch) > here]

    def _score(self, arch: Any) -> float:
        score = self._scores.get(arch)
        return -math.inf if score is None else score
