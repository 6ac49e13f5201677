"""A* over edits from the space's initial architecture (Hart, Nilsson & Raphael 1968).

Architectures are nodes and edits are edges. The search wants the cheapest change of `space.initial()` that
scores at least `goal`. Choose it to improve on a simple network with as little change as possible, and to
learn what each step towards a goal costs.

The next trial is the node of least f = g + h among the neighbours of evaluated nodes:
- g is the cost of the cheapest known path. An edit costs 1 (`cost: edits`), or the parameters that it adds,
  relative to those of the initial network (`cost: params`; removing parameters is free).
- h = `weight` * max(0, goal - estimate), the score that is still missing. The estimate is a ridge regression
  of the scores so far: on Weisfeiler-Lehman features of the graph (`heuristic: fitted`), or on the zero-cost
  score `proxy` (`heuristic: proxy`). With `heuristic: none`, h is 0 and this is Dijkstra's algorithm.

h is admissible (it never overestimates) if (1) no edit gains more score than its cost / weight and (2) no
estimate is below its architecture's score. If both hold for the last estimates, the goal at which the search
stops has the least cost of all goals in the graph of the drawn edges (`branch` may leave edges out). If (2)
holds, but (1) only for a smaller weight w0, its cost is at most weight / w0 times the least (Pohl 1970). A
fitted estimate promises neither: it only helps to find goals sooner.

A score costs a trial, so a node is evaluated when it has the least f, not when it is generated. The
neighbours of an evaluated node are generated at once, which costs no trial, and ordered by their own f. A
cheaper path to a node is passed on to all nodes behind it (reopening), without a second trial. Ties go to the
smaller h, then to the node generated first. The search ends when a goal costs no more than the least f left,
outstanding trials included. The search continues through failed nodes. Every generated node needs an
estimate, so `heuristic: proxy` computes one zero-cost score for each.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from nasmeta.search_spaces.encodings import weisfeiler_lehman
from nasmeta.strategies import ridge
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Outcome, Proposal

ROUNDS = 2
"""Rounds of Weisfeiler-Lehman features: two cover an operation, what feeds it, and what feeds that."""


class AStar(Strategy):
    """A* search for the cheapest edits that reach `goal`; the module explains it.

    goal: a score, that is an accuracy in [0, 1] or minus a loss. weight: cost per unit of score. branch:
    neighbours drawn for each evaluated node; None for all of them. proxy, proxy_batches: the zero-cost score
    and its number of training batches; only `heuristic="proxy"` uses them.
    """

    has_goal = True
    warm_starts = False  # the order of a graph search is its own
    start = "initial"

    def __init__(
        self,
        context: SearchContext,
        *,
        cost: Literal["edits", "params"],
        heuristic: Literal["fitted", "proxy", "none"],
        goal: float,
        weight: Annotated[float, Field(ge=0)],
        branch: Annotated[int, Field(ge=1)] | None,
        proxy: str,
        proxy_batches: Annotated[int, Field(ge=1)],
    ) -> None:
        super().__init__(context)
        self.goal, self.weight = goal, weight
        self._by_params, self._heuristic = cost == "params", heuristic
        self._branch, self._costs = branch, context.costs
        self._proxy = context.proxies(proxy, proxy_batches) if heuristic == "proxy" else None
        self.path_costs: dict[Any, float] = {}
        """g: the cost of the cheapest known path to each generated node."""
        self._edges: dict[Any, dict[Any, float]] = {}  # evaluated node -> neighbour -> cost of the edit
        self._open: dict[Any, None] = {}  # generated, not asked yet; in the order generated
        self._scores: dict[Any, float] = {}
        self._features: dict[Any, ridge.Features] = {}
        self._model: ridge.RidgeModel | None = None
        self._missing: dict[Any, float] = {}

    def _ask(self, trial: int) -> Proposal | None:
        arch = self._next()
        if arch is None:
            return None
        if trial == 0:
            self.path_costs[arch] = 0.0
        self._open.pop(arch, None)
        return Proposal(trial=trial, arch=arch, iterations=self.iterations)

    def _tell(self, told: Outcome) -> None:
        if told.score is not None:
            self._scores[told.arch] = told.score
            self._model = None
        self._edges[told.arch] = self._generate(told.arch)
        self._relax(told.arch)

    def _exhausted(self) -> bool:
        return self._next() is None

    def reached(self) -> Any | None:
        """The goal with the cheapest path so far, or None. Once the search is done, this is its answer."""
        goals = [arch for arch, score in self._scores.items() if score >= self.goal]
        return min(goals, key=self.path_costs.__getitem__, default=None)

    def _next(self) -> Any | None:
        """The feasible open node of least f; None if no open node can lead to a cheaper goal.

        Outstanding nodes may still open others.
        """
        if self._asked == 0:
            return self.draw(self.stream(0))
        self._fit()
        reached = self.reached()
        enough = math.inf if reached is None else self.path_costs[reached]
        while self._open:
            arch = min(self._open, key=self._priority)
            if self._priority(arch)[0] >= enough:
                return None
            if self._feasible(arch):
                return arch
            del self._open[arch]
        return None

    def _generate(self, arch: Any) -> dict[Any, float]:
        """The neighbours of an evaluated node, at most `branch` drawn ones, with the cost of each edit."""
        drawn = self.neighbors(arch)[: self._branch]
        if not self._by_params:
            return dict.fromkeys(drawn, 1.0)
        smallest = self._costs(next(iter(self.path_costs))).params
        before = self._costs(arch).params
        # What cannot be built has no parameters to count.
        added = {new: self._costs(new).params - before for new in drawn if self._feasible(new)}
        return {new: max(0, more) / smallest for new, more in added.items()}

    def _relax(self, arch: Any) -> None:
        """Passes the cost of the path through `arch` on to the nodes behind it for which it is cheaper."""
        changed = [arch]
        while changed:
            node = changed.pop()
            for near, cost in self._edges.get(node, {}).items():
                through = self.path_costs[node] + cost
                if near not in self.path_costs:
                    self._open[near] = None
                elif through >= self.path_costs[near]:
                    continue
                self.path_costs[near] = through
                changed.append(near)

    def _priority(self, arch: Any) -> tuple[float, float]:
        """(f, h): the order in which open nodes are evaluated."""
        if arch not in self._missing:
            self._missing[arch] = self.weight * max(0.0, self.goal - self.estimate(arch))
        return self.path_costs[arch] + self._missing[arch], self._missing[arch]

    def estimate(self, arch: Any) -> float:
        """The score expected of a node; infinity, which makes h zero, if nothing is known yet."""
        return math.inf if self._model is None else self._model.predict(self._describe(arch))

    def _fit(self) -> None:
        if self._model is None and self._scores and self._heuristic != "none":
            rows = [self._describe(arch) for arch in self._scores]
            self._model = ridge.fit(rows, list(self._scores.values()))
            self._missing = {}

    def _describe(self, arch: Any) -> ridge.Features:
        if arch not in self._features:
            if self._proxy is None:
                self._features[arch] = weisfeiler_lehman(self.space.graph(arch), ROUNDS)
            else:
                # Zero-cost scores span orders of magnitude. If not finite, they become another feature.
                score = self._proxy(arch)
                self._features[arch] = {"proxy": math.asinh(score)} if math.isfinite(score) else {"none": 1.0}
        return self._features[arch]
