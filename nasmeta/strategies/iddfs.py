"""Iterative deepening depth-first search over edits from the space's initial architecture (Korf 1985).

Searches depth-first to depth 0, then 1, 2, ... up to `max_depth`, until an architecture scores at least
`goal`. The first depth that has one is the least number of edits that reach the goal (along the drawn edges,
if `branch` or `beam` leave some out). Choose it to look at everything near the initial network, nearest
first: as a baseline of what edits alone achieve, or if the answer must stay close to a known network.

`branch` neighbours of each architecture are drawn (null: all). A walk continues from the `beam` of them with
the best scores (null: from all), so that deep iterations follow what was good.

No architecture is evaluated twice: later iterations reuse known scores. The search's frontier is one path
with the neighbours along it, linear in the depth. The whole memory is larger: like any strategy, it keeps all
evaluated architectures, each with its score, its depth, and the last iteration that visited it. So an
iteration visits each architecture once, at its own depth, not once for every order of the same edits.

A new depth begins when all trials of the previous one are told. The search continues through failed
architectures too, last.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Outcome, Proposal


class IterativeDeepening(Strategy):
    """Iterative deepening to `max_depth` edits; the module explains `branch` and `beam`.

    goal: the score at which it stops, an accuracy in [0, 1] or minus a loss.
    """

    has_goal = True
    warm_starts = False  # the order of a graph search is its own
    start = "initial"

    def __init__(
        self,
        context: SearchContext,
        *,
        goal: float,
        max_depth: Annotated[int, Field(ge=0, le=100)],
        branch: Annotated[int, Field(ge=1)] | None,
        beam: Annotated[int, Field(ge=1)] | None,
    ) -> None:
        super().__init__(context)
        self._goal, self._max_depth = goal, max_depth
        self._branch, self._beam = branch, beam
        self._depths: dict[Any, int] = {}
        self._walked: dict[Any, int] = {}  # the last iteration that visited it
        self._scores: dict[Any, float] = {}
        self._reached = False
        self._search = self._deepen()
        self._found: Any = None  # found by the search, not asked yet

    def _ask(self, trial: int) -> Proposal | None:
        arch = self._next()
        self._found = None
        return None if arch is None else Proposal(trial=trial, arch=arch, iterations=self.iterations)

    def _tell(self, told: Outcome) -> None:
        self._scores[told.arch] = -math.inf if told.score is None else told.score
        self._reached = self._reached or self._scores[told.arch] >= self._goal

    def _exhausted(self) -> bool:
        return self._next() is None

    def _next(self) -> Any | None:
        """The next architecture that the search finds; None if the search waits or has ended."""
        if self._reached:
            return None
        if self._found is None:
            self._found = next(self._search, None)
        return self._found

    def _deepen(self) -> Iterator[Any | None]:
        """Architectures in the order of evaluation; None while trials of a depth are outstanding."""
        start = self.draw(self.stream(0))
        for depth in range(self._max_depth + 1):
            before = len(self._depths)
            yield from self._walk(start, 0, depth)
            while self._outstanding:
                yield None
            if len(self._depths) == before:
                return

    def _walk(self, arch: Any, depth: int, limit: int) -> Iterator[Any]:
        """New architectures at depth `limit`, reached from `arch`, which is at `depth`."""
        if self._depths.setdefault(arch, depth) != depth or self._walked.get(arch) == limit:
            return
        self._walked[arch] = limit
        if depth == limit:
            yield arch
            return
        drawn = self.neighbors(arch)[: self._branch]
        if depth + 1 < limit:
            known = [near for near in drawn if self._depths.get(near) == depth + 1]
            drawn = sorted(known, key=self._scores.__getitem__, reverse=True)[: self._beam]
        for near in drawn:
            if near in self._depths or self._feasible(near):
                yield from self._walk(near, depth + 1, limit)
