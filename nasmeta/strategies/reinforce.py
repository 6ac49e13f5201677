"""A recurrent controller trained by REINFORCE (Zoph & Le 2017, arXiv:1611.01578; ENAS, arXiv:1802.03268).

An LSTM draws an architecture decision by decision. Every told score moves it by one step of Adam along
(reward - baseline) * grad log p(architecture) + entropy_weight * grad entropy (Zoph & Le, section 3.2). The
baseline is an exponential moving average of the rewards. The entropy is the mean over the decisions, in nats.
Choose it for spaces whose decisions matter one by one, and if you want a policy to draw from. It needs a
space that declares its decisions (search_spaces/decisions.py).

Deviations. The reward is the share of the scores so far that the new one beats (ties count half), not the
accuracy or its cube: scores have no common scale, and a few networks that learn nothing would outweigh all
others. A failed trial has reward 0. A draw beyond a limit is evaluated as it is repaired, and rewarded for
that. Logits are neither squashed nor divided by a temperature, as ENAS does against early convergence. No
architecture is evaluated twice: if a draw was proposed before, it trains nothing, and the next draw
is from a hotter policy (logits divided by HEAT once more per repetition). One controller takes one step per
tell, in the order of the tells.
"""

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from nasmeta.config.shipped import option_of
from nasmeta.errors import ConfigError
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Outcome, Proposal

if TYPE_CHECKING:
    from nasmeta.strategies.controller import Answers

HEAT = 1.1


class Reinforce(Strategy):
    """A controller trained by REINFORCE.

    units: of its LSTM. learning_rate: of Adam. baseline_decay: of the moving average of rewards, in [0, 1).
    entropy_weight: how much an even policy counts next to a reward in [0, 1]. Raises ConfigError for a space
    without decisions.
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        units: Annotated[int, Field(ge=1, le=4096)],
        learning_rate: Annotated[float, Field(gt=0)],
        baseline_decay: Annotated[float, Field(ge=0, lt=1)],
        entropy_weight: Annotated[float, Field(ge=0)],
    ) -> None:
        super().__init__(context)
        if not isinstance(self.space, Decidable):
            raise ConfigError(
                f"strategy: reinforce needs a search space that says what its decisions are, which "
                f"{option_of('search_space', self.space)} does not; choose strategy=evolution"
            )
        from nasmeta.strategies.controller import Controller  # loads torch

        self.controller: Controller = Controller(self.space, units, learning_rate, self.seed)
        self._baseline_decay, self._entropy_weight = baseline_decay, entropy_weight
        self._baseline: float | None = None
        self._answers: dict[Any, Answers] = {}
        self._scores: list[float] = []  # ascending

    def _ask(self, trial: int) -> Proposal:
        rng = self.stream(trial)
        temperature = 1.0
        drawn: dict[Any, Answers] = {}

        def draw() -> Any:
            nonlocal temperature
            arch, answers = self.controller.sample(rng, temperature)
            drawn[arch] = drawn[None] = answers  # None: the latest
            if arch in self._seen:
                temperature *= HEAT
            return arch

        arch = self.fresh(draw)
        if arch in drawn or arch not in self._seen:  # what is not drawn is the latest draw, repaired
            self._answers[arch] = drawn.get(arch, drawn[None])
        return Proposal(trial=trial, arch=arch, iterations=self.iterations)

    def _tell(self, told: Outcome) -> None:
        reward = self._reward(told.score)
        baseline = reward if self._baseline is None else self._baseline
        if told.arch in self._answers:  # otherwise it is a repeat of another search
            self.controller.step(self._answers[told.arch], reward - baseline, self._entropy_weight)
        self._baseline = baseline + (1 - self._baseline_decay) * (reward - baseline)

    def _tell_earlier(self, told: Outcome) -> None:
        """Keeps the scores of another search for rewards to compare with; `adopt` takes its policy."""
        if told.score is not None:
            insort(self._scores, told.score)

    def adopt(self, earlier: Strategy) -> None:
        """Continues with the baseline of `earlier`, and its policy for the decisions that both share."""
        if isinstance(earlier, Reinforce):
            self.controller.adopt(earlier.controller)
            self._baseline = earlier._baseline

    def _reward(self, score: float | None) -> float:
        """The share of the other scores so far that `score` beats; 1/2 for the first."""
        if score is None:
            return 0.0
        below, up_to = bisect_left(self._scores, score), bisect_right(self._scores, score)
        count = len(self._scores)
        insort(self._scores, score)
        return (below + up_to) / (2 * count) if count else 0.5
