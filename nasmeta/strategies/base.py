"""The contract of a strategy: ask, tell, done.

The public methods count and check, then call the underscored hooks that a strategy implements. A strategy is
a pure function of its seed and its history of asks and tells. It draws from `self.stream(...)`, keeps nothing
that replaying the history would not rebuild, and never evaluates, logs or touches files.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from nasmeta import seeding
from nasmeta.config.shipped import option_of
from nasmeta.errors import ConfigError, NothingFeasible
from nasmeta.search_spaces.relaxation.spec import Adaptation, Relaxation
from nasmeta.strategies.context import SearchContext
from nasmeta.trial import COUNTED, Outcome, Proposal

OBJECTIVES = (*COUNTED, "latency")
"""The costs that a strategy may minimize while it maximizes the score."""

FEASIBLE_DRAWS = 1000
"""A strategy gives up after it has checked so many architectures, drawn or repaired, in vain."""

FRESH_DRAWS = 100
"""After so many draws a strategy accepts an architecture that it has proposed before."""

Start = Literal["reference", "initial", "random"]
"""What a search begins with.

The reference and its relatives, the space's initial architecture, or nothing but random draws.
"""


class Strategy(ABC):
    """Decides which architecture to try next. Several asks may be outstanding; tells come in any order.

    - start: what `draw` returns first.
    - objectives: the costs, out of OBJECTIVES, that it trades against the score. The run then keeps their
      front.
    - warm_starts: whether it can take over what another search was told.
    - black_box: whether it works on every space and knows only what it is told. A strategy that trains
      networks itself is not a black box.
    - relaxation, adaptation: set if its proposals are the relaxed network whose architecture adapts to every
      task.
    - has_goal: whether it stops at a score that its options name: an accuracy, or minus a loss.
    - open_ended: whether it can go on for more trials than it began with.
    - unrolls: whether it differentiates the meta-learner's loss through a training step.
    """

    start: Start = "random"
    objectives: tuple[str, ...] = ()
    warm_starts = True
    black_box = True
    has_goal = False
    open_ended = True
    unrolls = False
    relaxation: Relaxation | None = None
    adaptation: Adaptation | None = None

    def __init__(self, context: SearchContext) -> None:
        self.space, self.seed = context.space, context.seed
        self.trials, self.iterations = context.trials, context.iterations
        self._feasible = context.feasible
        self._asked = 0
        self._earlier_trials = 0
        self._outstanding: dict[int, Proposal] = {}
        self._seen: dict[Any, None] = {}  # in the order of the asks

    def ask(self) -> Proposal | None:
        """The next proposal; None if it must wait for a tell, or if there are no more (`done`)."""
        if self._asked >= self.trials:
            return None
        proposal = self._ask(self._asked)
        if proposal is None:
            return None
        self._asked += 1
        self._outstanding[proposal.trial] = proposal
        self._seen[proposal.arch] = None
        return proposal

    def tell(self, told: Outcome) -> None:
        """Takes the outcome of a proposal. Raises ValueError if it was not asked or was told already.

        Also raises ValueError for another architecture than the proposed one and for a score that is not
        finite.
        """
        proposal = self._outstanding.pop(told.trial, None)
        if proposal is None:
            raise ValueError(f"trial {told.trial} is not outstanding: it was never asked, or told before")
        if told.arch != proposal.arch:
            raise ValueError(f"trial {told.trial} is {proposal.arch}, but was told as {told.arch}")
        if told.score is not None and not math.isfinite(told.score):
            raise ValueError(f"trial {told.trial} was told a score of {told.score}; a failure is None")
        self._tell(told)

    def warm_start(self, history: Sequence[Outcome]) -> None:
        """Takes over what another search was told, in that order, before the first ask.

        The architectures count as proposed, and their trials get negative numbers. Raises ConfigError for a
        strategy that cannot use them (`warm_starts` is false).
        """
        if not self.warm_starts:
            raise ConfigError(
                f"strategy.inner: {option_of('strategy', self)} cannot continue another search's trials; "
                "choose strategy@strategy.inner=evolution, predictor or local_search"
            )
        self._earlier_trials = len(history)
        for number, told in enumerate(history, -len(history)):
            self._seen[told.arch] = None
            self._tell_earlier(replace(told, trial=number))

    def _tell_earlier(self, told: Outcome) -> None:
        """Learns from a trial of another search; by default as from one of its own."""
        self._tell(told)

    def adopt(self, earlier: "Strategy") -> None:  # noqa: B027 - most have nothing beyond their trials
        """Takes over what a strategy of the same kind learned beyond its trials, before the first ask."""

    def done(self) -> bool:
        """True once every trial is asked and told, or the strategy has nothing left to propose."""
        return not self._outstanding and (self._asked >= self.trials or self._exhausted())

    def extend(self, trials: int) -> None:
        """Lets it propose so many trials in all, more than before."""
        self.trials = trials

    @property
    def extended_how(self) -> str | None:
        """What it does with added trials, if it would have done otherwise with all of them from the start."""
        return None

    def chosen(self) -> list[Any]:
        """The architectures that the search ends with, if scores do not decide that; none by default."""
        return []

    def final_starts(self) -> set[int]:
        """The told trials whose training is continued by the full training of the same architecture."""
        return set()

    def needed(self) -> set[int]:
        """The told trials whose weights a proposal starts from, or may still start from."""
        starts = {start for p in self._outstanding.values() for start in (p.continues, p.inherits)}
        return {start for start in starts if start is not None} | self._promotable()

    @property
    def budgets(self) -> tuple[int, ...]:
        """The meta-iterations that its proposals may ask for, ascending; one value by default."""
        return (self.iterations,)

    @abstractmethod
    def _ask(self, trial: int) -> Proposal | None:
        """The proposal of trial `trial`; None if the strategy waits for tells or is exhausted."""

    def _tell(self, told: Outcome) -> None:  # noqa: B027 - a strategy may not care
        """Learns from a trial."""

    def _promotable(self) -> set[int]:
        """The told trials that a later proposal may start from; their weights are kept. None by default."""
        return set()

    def _exhausted(self) -> bool:
        """Whether nothing would ever be proposed again."""
        return False

    def stream(self, *names: str | int) -> np.random.Generator:
        """The random stream for `names`, e.g. the trial that is being proposed."""
        return seeding.stream(self.seed, "strategy", *names)

    def fresh(self, draw: Callable[[], Any]) -> Any:
        """A feasible architecture from `draw`, and a new one if a few draws find one.

        A draw that is not feasible is repaired: the space makes it cheaper until it is, if it can.
        If no draw is feasible, it is the first feasible architecture that was proposed before. Raises
        NothingFeasible if there is none.
        """
        repeat = None
        checks = draws = 0

        def fits(arch: Any) -> bool:
            nonlocal checks
            checks += 1
            return self._feasible(arch)

        rng = self.stream("repair", self._asked)
        while checks < FEASIBLE_DRAWS:
            draws += 1
            arch = self.space.repair(draw(), fits, rng)
            if arch is not None:
                if arch not in self._seen:
                    return arch
                repeat = arch
            if repeat is not None and draws >= FRESH_DRAWS:
                return repeat
        # What was learned from another search may be infeasible here.
        proposed = next((arch for arch in self._seen if self._feasible(arch)), None)
        if proposed is None:
            raise NothingFeasible("none of the architectures tried is feasible")
        return proposed

    def draw(self, rng: np.random.Generator) -> Any:
        """An architecture that follows from no score: first what `start` names, then random ones.

        What `start` names comes in the space's order, as far as it is feasible and new. It does not depend on
        the number of trials, so a search can be given more of them later.
        """
        relatives = self.space.relatives() if self.start == "reference" else []
        for arch in [self.space.initial()] if self.start == "initial" else relatives:
            if arch not in self._seen and self._feasible(arch):
                return arch
        return self.fresh(lambda: self.space.sample(rng))

    def neighbors(self, arch: Any) -> list[Any]:
        """All neighbours of `arch`, in a random order that is the same whenever they are asked for."""
        near = list(self.space.neighbors(arch))
        self.stream("neighbors", str(arch)).shuffle(near)
        return near


def score_of(told: Outcome) -> float:
    """The score of a trial that did not fail."""
    assert told.score is not None
    return told.score
