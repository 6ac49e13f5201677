"""The state of a bracket and which of its trials are promoted: synchronous and asynchronous."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from nasmeta.strategies.base import score_of
from nasmeta.strategies.hyperband.plan import Rung
from nasmeta.trial import Outcome


class Bracket(ABC):
    """The rungs of one bracket, from the smallest budget to the full one.

    told: the finished trials of each rung, failed ones included. promoted: the numbers of each rung's trials
    that were sent to the next rung.
    """

    def __init__(self, iterations: Sequence[int]) -> None:
        self.iterations = list(iterations)
        self.told: list[list[Outcome]] = [[] for _ in iterations]
        self.promoted: list[set[int]] = [set() for _ in iterations]

    def ranked(self, rung: int) -> list[Outcome]:
        """The rung's trials that did not fail, best first; equal ones in the order of their numbers."""
        good = [told for told in self.told[rung] if told.score is not None]
        return sorted(good, key=lambda told: (-score_of(told), told.trial))

    def promotion(self) -> tuple[int, Outcome] | None:
        """(rung to enter, trial that enters it), to be asked next; None if there is none yet."""
        for rung in reversed(range(len(self.iterations) - 1)):
            for told in self.ranked(rung)[: self.quota(rung)]:
                if told.trial not in self.promoted[rung]:
                    self.promoted[rung].add(told.trial)
                    return rung + 1, told
        return None

    def promotable(self, left: int) -> set[int]:
        """The trials that may still be promoted if at most `left` more trials are told."""
        return {
            told.trial
            for rung in range(len(self.iterations) - 1)
            for told in self.ranked(rung)[: self.final_quota(rung, left)]
            if told.trial not in self.promoted[rung]
        }

    def tell(self, rung: int, told: Outcome) -> None:
        self.told[rung].append(told)

    @abstractmethod
    def quota(self, rung: int) -> int:
        """How many trials of the rung deserve promotion, given what is told so far."""

    @abstractmethod
    def final_quota(self, rung: int, left: int) -> int:
        """The most trials of the rung that can deserve promotion after `left` more tells."""


class Halving(Bracket):
    """Successive halving (Jamieson & Talwalkar 2016): a rung promotes once all of its trials are told.

    If fewer trials succeed than the next rung has places, the next rungs shrink.
    """

    def __init__(self, rungs: Sequence[Rung]) -> None:
        super().__init__([rung.iterations for rung in rungs])
        self.sizes = [rung.size for rung in rungs]
        self.asked = 0
        """The number of trials that entered the lowest rung."""

    @property
    def total(self) -> int:
        """The number of trials that the bracket takes in all, as far as is known."""
        return sum(self.sizes)

    def tell(self, rung: int, told: Outcome) -> None:
        super().tell(rung, told)
        if len(self.told[rung]) == self.sizes[rung]:
            survivors = len(self.ranked(rung))
            above = [min(size, survivors) for size in self.sizes[rung + 1 :]]
            self.sizes[rung + 1 :] = above

    def quota(self, rung: int) -> int:
        return self.sizes[rung + 1] if len(self.told[rung]) == self.sizes[rung] else 0

    def final_quota(self, rung: int, left: int) -> int:
        return self.sizes[rung + 1]


class Asynchronous(Bracket):
    """ASHA (Li et al. 2020, algorithm 2): at any time promotes the top 1/eta of the trials told so far."""

    def __init__(self, iterations: Sequence[int], eta: int) -> None:
        super().__init__(iterations)
        self.eta = eta

    def quota(self, rung: int) -> int:
        return len(self.told[rung]) // self.eta

    def final_quota(self, rung: int, left: int) -> int:
        return math.ceil((len(self.told[rung]) + left) / self.eta)
