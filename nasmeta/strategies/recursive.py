"""Rounds of another strategy: each starts from what was learned, in a wider space, with the best weights.

This is the founding idea of this project: budget.trials is divided over `rounds` rounds of the strategy
`inner`. Each round
- searches a wider part of the space (SearchSpace.part_for_round); the last round searches all of it;
- begins with what was learned: its strategy is told the trials of the earlier rounds before its first ask
  (Strategy.warm_start), if its space contains them. A strategy that has learned more than its trials say,
  such as the controller of reinforce, hands that on too (Strategy.adopt);
- inherits weights: the meta-training of a new architecture begins with those of the best trial before the
  round. Function-preserving morphisms transfer them if the space knows one (Net2Net, Chen et al. 2016,
  arXiv:1511.05641; search_spaces/*/weights.py); otherwise whatever fits by name and shape is copied.

Progressive widening comes from Auto-Meta (Kim et al. 2018, arXiv:1806.06927), inheriting by morphisms from
Cai et al. 2018 (arXiv:1707.04873). Choose it if a large space has good small networks to grow from. Because
weights are handed on, networks of a later round have been trained for longer than budget.search_iterations
says. The final candidates are meta-trained from scratch, as always.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.seeding import integer
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Outcome, Proposal, rank


class Recursive(Strategy):
    """Runs `inner` in `rounds` rounds.

    A round ends when its last trial is told. Trials that it did not use go to the next round.
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        rounds: Annotated[int, Field(ge=1)],
        inner: Callable[..., Strategy],
    ) -> None:
        super().__init__(context)
        self.rounds = min(rounds, self.trials)
        self.history: list[Outcome] = []
        self.best: Outcome | None = None
        self._context, self._make = context, inner
        self._round = 0
        self.inner = self._begun()
        self.objectives = self.inner.objectives

    def _begun(self) -> Strategy:
        """The strategy of the next round, before its first ask."""
        self._round += 1
        self._before = self._asked
        self._source = self.best
        space = self.space.part_for_round(self._round, self.rounds)
        seed = integer(self.seed, "round", self._round)
        trials = (self.trials - self._asked) // (self.rounds - self._round + 1)
        strategy = self._make(context=replace(self._context, space=space, seed=seed, trials=trials))
        if self._round > 1:
            strategy.start = "random"  # what was learned takes the place of the first proposals
        strategy.warm_start(self._history_within(space))
        return strategy

    def _history_within(self, space: SearchSpace[Any]) -> list[Outcome]:
        return [told for told in self.history if space.contains(told.arch)]

    def extend(self, trials: int) -> None:
        """Lets the rounds that are still to come share the added trials; the last one takes what is left."""
        if self._round == self.rounds:
            self.inner.extend(self.inner.trials + trials - self.trials)
        super().extend(trials)

    @property
    def extended_how(self) -> str | None:
        return "rounds that have ended keep their trials; later ones share those that are added"

    @property
    def budgets(self) -> tuple[int, ...]:
        return self.inner.budgets

    def _ask(self, trial: int) -> Proposal | None:
        while self.inner.done() and self._round < self.rounds:
            earlier, self.inner = self.inner, self._begun()
            self.inner.adopt(earlier)
        proposal = self.inner.ask()
        if proposal is None:
            return None
        if proposal.continues is not None:
            return replace(proposal, trial=trial, continues=self._before + proposal.continues)
        return replace(proposal, trial=trial, inherits=self._source.trial if self._source else None)

    def warm_start(self, history: Sequence[Outcome]) -> None:
        """Takes over trials for the first round and all later ones; there are no weights to inherit."""
        super().warm_start(history)
        self.inner.warm_start(self._history_within(self.inner.space))

    def _tell_earlier(self, told: Outcome) -> None:
        self.history.append(told)

    def _tell(self, told: Outcome) -> None:
        self.inner.tell(replace(told, trial=told.trial - self._before))
        self.history.append(told)
        if told.score is not None and (self.best is None or rank(told) > rank(self.best)):
            self.best = told

    def _exhausted(self) -> bool:
        return self._round == self.rounds and self.inner.done()

    def _promotable(self) -> set[int]:
        if self._asked == self.trials:
            return set()
        starts = {told.trial for told in (self.best, self._source) if told is not None}
        return starts | {self._before + trial for trial in self.inner.needed()}
