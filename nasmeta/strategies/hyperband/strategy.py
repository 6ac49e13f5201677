"""Many architectures for a short time, few of them for longer: successive halving, Hyperband and ASHA.

Choose it if a short meta-training already tells bad architectures from good ones, and a full one is
expensive. `mode`:

- hyperband (Li, Jamieson, DeSalvo, Rostamizadeh & Talwalkar 2018, arXiv:1603.06560, algorithm 1): brackets
  s_max, ..., 0, over and over. Bracket s starts ceil((s_max + 1) / (s + 1) * eta^s) random architectures at
  1/eta^s of the full budget, R = budget.search_iterations. The best 1/eta architectures of a rung continue
  with eta times the budget. It hedges between many short trainings and few full ones.
- halving (Jamieson & Talwalkar 2016): one bracket, as large as budget.trials allows.
- asha (Li et al. 2020, arXiv:1810.05934, algorithm 2): promotes an architecture as soon as it is among the
  best 1/eta of its rung so far. If there is none, it starts a new one. No trial waits for another, so choose
  it for parallel executors.

New architectures are draws, which begin with `start`. With `random_share` below 1, a model of the scores
proposes the others, once there is something to learn from (models.py explains it).

A promoted architecture resumes its own meta-training (Proposal.continues). Learning-rate schedules span the
full budget R in every rung, because a schedule that ended with the rung could not be continued.

budget.trials counts evaluations, promotions included. Hyperband's brackets follow each other while whole ones
fit. The last one is cut to what is left: it has fewer architectures, and fewer rungs if not even one
architecture would reach R. With several asks outstanding, the next bracket begins while one waits for tells.
Failed trials are not promoted; the evaluations that this saves go to another bracket.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from nasmeta.strategies.base import Start, Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.strategies.hyperband import plan
from nasmeta.strategies.hyperband.models import BudgetModels
from nasmeta.strategies.hyperband.rungs import Asynchronous, Halving
from nasmeta.strategies.surrogate.sampler import FEWEST_SCORES
from nasmeta.trial import Outcome, Proposal


class Hyperband(Strategy):
    """Successive halving, Hyperband or ASHA, chosen by `mode`; the module describes them.

    eta: the factor between the budgets of two rungs. min_share: the smallest budget as a share of the full
    one. start: what the draws begin with. random_share: of the new architectures, how many are draws even
    though there is a model. model_trials: the trials told at a budget from which on its model is used.
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        mode: plan.Mode,
        eta: Annotated[int, Field(ge=2)],
        min_share: Annotated[float, Field(gt=0, le=1)],
        start: Start,
        random_share: Annotated[float, Field(ge=0, le=1)],
        model_trials: Annotated[int, Field(ge=FEWEST_SCORES)],
    ) -> None:
        super().__init__(context)
        self.mode, self.eta, self.start = mode, eta, start
        self._models = BudgetModels(self.space, self._feasible, model_trials, random_share)
        self.s_max = plan.halvings(self.iterations, eta, min_share)
        self.halving: list[Halving] = []
        self.asynchronous = Asynchronous(plan.budgets(self.iterations, eta, self.s_max), eta)
        self._cut = False
        self._places: dict[int, tuple[Halving | Asynchronous, int]] = {}  # trial -> its bracket and rung

    @property
    def budgets(self) -> tuple[int, ...]:
        return tuple(plan.budgets(self.iterations, self.eta, self.s_max))

    @property
    def brackets(self) -> Sequence[Halving | Asynchronous]:
        """The brackets begun so far."""
        return [self.asynchronous] if self.mode == "asha" else self.halving

    @property
    def extended_how(self) -> str | None:
        cut = "the last bracket was cut to fit the trials before; further brackets follow it"
        return cut if self._cut else None

    def _ask(self, trial: int) -> Proposal | None:
        for bracket in self.brackets:
            promotion = bracket.promotion()
            if promotion is not None:
                rung, told = promotion
                self._places[trial] = bracket, rung
                return Proposal(
                    trial=trial, arch=told.arch, iterations=bracket.iterations[rung], continues=told.trial
                )
        entered = self._enter()
        if entered is None:
            return None
        self._places[trial] = entered, 0
        rng = self.stream(trial)
        arch = self._models.propose(self._outstanding.values(), self._seen, rng)
        if arch is None:
            arch = self.draw(rng)
        return Proposal(trial=trial, arch=arch, iterations=entered.iterations[0])

    def _enter(self) -> Halving | Asynchronous | None:
        """The bracket whose lowest rung takes a new architecture; None if all wait for tells."""
        if self.mode == "asha":
            return self.asynchronous
        waiting = (bracket for bracket in self.halving if bracket.asked < bracket.sizes[0])
        bracket = next(waiting, None) or self._open()
        if bracket is not None:
            bracket.asked += 1
        return bracket

    def _open(self) -> Halving | None:
        left = self.trials - sum(bracket.total for bracket in self.halving)
        if left <= 0:
            return None
        s = self.s_max
        if self.mode == "hyperband":
            s -= len(self.halving) % (self.s_max + 1)
        rungs = plan.bracket(s, self.s_max, self.iterations, self.eta)
        if self.mode == "halving" or sum(rung.size for rung in rungs) > left:
            rungs = plan.cut(left, s, self.iterations, self.eta)
            self._cut = True
        self.halving.append(Halving(rungs))
        return self.halving[-1]

    def _tell(self, told: Outcome) -> None:
        bracket, rung = self._places.pop(told.trial)
        bracket.tell(rung, told)
        self._models.tell(told)

    def _tell_earlier(self, told: Outcome) -> None:
        """Lets the models know; only its own trials can be promoted."""
        self._models.tell(told)

    def _promotable(self) -> set[int]:
        if self._asked == self.trials:
            return set()
        left = self.trials - self._asked + len(self._outstanding)
        return {trial for bracket in self.brackets for trial in bracket.promotable(left)}
