"""draft"""

from typing import Annotated, Any

from pydantic import Field

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.strategies.base import Feasible, Proposal, Strategy


class Reinforce(Strategy):
    def __init__(
        self,
        *,
        units: Annotated[int, Field(ge=1)],
        learning_rate: Annotated[float, Field(gt=0)],
        baseline_decay: Annotated[float, Field(ge=0, lt=1)],
        entropy_weight: Annotated[float, Field(ge=0)],
        repeats: str,
        norm: str,
        temp: float = 1.0,
        space: SearchSpace[Any],
        seed: int,
        trials: int,
        iterations: int,
        feasible: Feasible,
    ) -> None:
        super().__init__(space=space, seed=seed, trials=trials, iterations=iterations, feasible=feasible)
        from torch.optim import Adam

        from nasmeta.strategies.controller import Controller

        self.c = Controller(space, units, seed)
        self.opt = Adam(self.c.parameters(), lr=learning_rate)
        self.temp = temp
        self.decay = baseline_decay
        self.ew = entropy_weight
        self.repeats = repeats
        self.norm = norm
        self.base = None
        self.var = None
        self.answers = {}
        self.scores = {}

    def _ask(self, trial):
        rng = self.stream(trial)
        t = 1.0
        for _ in range(100):
            arch, ans = self.c.sample(rng, t)
            t *= self.temp
            if arch in self._seen:
                if self.repeats == "feed" and self.scores.get(arch) is not None:
                    self.update(ans, self.scores[arch])
                continue
            if self._feasible(arch):
                self.answers[trial] = ans
                return Proposal(trial, arch, self.iterations)
        arch = self.fresh(lambda: self.space.sample(rng))
        self.answers[trial] = None
        return Proposal(trial, arch, self.iterations)

    def _tell(self, told):
        self.scores[told.arch] = told.score
        if told.score is not None and self.answers[told.trial]:
            self.update(self.answers[told.trial], told.score)

    def update(self, ans, score):
        lp, ent = self.c.score(ans)
        if self.norm == "rank":
            v = [s for s in self.scores.values() if s is not None]
            score = sum(x < score for x in v) / max(1, len(v) - 1) if len(v) > 1 else 0.5
        if self.base is None:
            self.base = score
            self.var = 0.0
        adv = score - self.base
        d = self.decay
        if self.norm == "std":
            self.var = d * self.var + (1 - d) * adv**2
            a = adv / (self.var**0.5 + 1e-12)
        elif self.norm == "mad":
            self.var = d * self.var + (1 - d) * abs(adv)
            a = max(-3, min(3, adv / (self.var + 1e-12)))
        else:
            a = adv
        self.base = d * self.base + (1 - d) * score
        loss = -a * lp - self.ew * ent
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        self.c.forget()
