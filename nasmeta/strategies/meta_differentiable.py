"""Architecture parameters that are meta-learned with the weights.

Every test task then takes its own architecture. T-NAS (Lian et al., ICLR 2020) with meta_learner=fomaml or
maml; MetaNAS (Elsken et al. 2020, arXiv:1911.11090) with meta_learner=reptile. Choose it if tasks differ so
much that one architecture for all is a compromise, and tasks have enough shots to choose by.

What is trained is the space's relaxed network, which the journal names `adaptive`. A trial is an epoch: it
resumes where the previous one stopped, and each has an equal share of `budget.search_iterations`. The full
training continues where the search ended.

meta_learners/task_architecture.py does the adaptation and names its deviations from the papers.
"""

from typing import Annotated, Any

from pydantic import Field

from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE
from nasmeta.search_spaces.relaxation.spec import Adaptation, Inputs, Relaxation
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import Outcome, Proposal


class MetaDifferentiable(Strategy):
    """Meta-learns an adaptive architecture; the arguments are those of Relaxation and Adaptation."""

    warm_starts = False
    open_ended = False
    black_box = False

    def __init__(
        self,
        context: SearchContext,
        *,
        inner_scale: Annotated[float, Field(gt=0)],
        outer_scale: Annotated[float, Field(gt=0)],
        warmup: Annotated[int, Field(ge=0)],
        temperature_start: Annotated[float, Field(gt=0)],
        temperature_end: Annotated[float, Field(gt=0)],
        inputs: Inputs,
        prune_steps: Annotated[int, Field(ge=0)],
    ) -> None:
        super().__init__(context)
        self.relaxation = Relaxation(inputs, channel_divisor=1)
        self.adaptation = Adaptation(
            inner_scale, outer_scale, warmup, temperature_start, temperature_end, prune_steps
        )
        self._last: Outcome | None = None
        self._failed = False

    def _ask(self, trial: int) -> Proposal | None:
        if self._outstanding or self._failed:
            return None
        iterations = -(-self.iterations * (trial + 1) // self.trials)
        continues = None if self._last is None else self._last.trial
        return Proposal(trial=trial, arch=ADAPTIVE, iterations=iterations, continues=continues)

    def _tell(self, told: Outcome) -> None:
        if told.score is None:
            self._failed = True
        else:
            self._last = told

    def _exhausted(self) -> bool:
        return self._failed

    def chosen(self) -> list[Any]:
        return [] if self._last is None else [ADAPTIVE]

    def _promotable(self) -> set[int]:
        return self.final_starts()

    def final_starts(self) -> set[int]:
        return set() if self._last is None else {self._last.trial}
