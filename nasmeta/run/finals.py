"""The finals: the best candidates and the reference are trained in full, and validation chooses one.

Successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943): every round trains longer and keeps the
better half of the candidates. All networks are judged on the same meta-validation tasks, on which nothing was
judged before. The reference takes part in every round, since the chosen network is compared with it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from nasmeta.errors import RunFailed
from nasmeta.run.ranking import best_of
from nasmeta.run.rounds import Round, schedule
from nasmeta.run.trials import Trials
from nasmeta.run.weights import Plan
from nasmeta.trial import Phase, TrialResult


@dataclass
class Finalist:
    """An architecture in the finals.

    phase: "reference", or "final" for a candidate. place: its number among the `of` finalists of its phase.
    results: those of its latest round, one for each of its networks. seconds: what meta-training the first of
    them took, with earlier rounds.
    """

    phase: Phase
    arch: str
    place: int = 0
    of: int = 1
    results: list[TrialResult] = field(default_factory=list)
    seconds: float = 0.0

    def plans(self, turn: int, each: Round, start: int | None) -> list[Plan]:
        """The trainings of its next round; `turn` counts rounds from 0.

        The first network continues that of the round before, or the search's trial `start`. Further networks
        have seeds of their own.
        """
        before: tuple[Phase, int] | None = None if start is None else ("search", start)
        if turn > 0:
            before = self.phase, self._trial(turn - 1)
        return [
            Plan(self.phase, self._trial(turn + n), self.arch, each.iterations, n, None if n else before)
            for n in range(each.networks)
        ]

    def _trial(self, turn: int) -> int:
        return self.place + turn * self.of

    def take(self, results: Sequence[TrialResult]) -> None:
        """Takes the results of a round."""
        self.seconds += results[0].train_seconds
        self.results = [replace(results[0], train_seconds=self.seconds), *results[1:]]

    @property
    def score(self) -> float | None:
        """The mean score over the networks that did not fail; None if there is none."""
        scores = self._scores
        return fmean(scores) if scores else None

    @property
    def rank(self) -> tuple[int, int, float]:
        """The key that ranks finalists: longest trained, fewest failed networks, highest mean score."""
        assert self.score is not None
        return self.results[0].iterations, len(self._scores), self.score

    @property
    def network(self) -> TrialResult:
        """Its best network by validation, the first of equal ones; a failed one if all failed."""
        return best_of(self.results) or self.results[0]

    @property
    def _scores(self) -> list[float]:
        return [r.score for r in self.results if r.score is not None and math.isfinite(r.score)]


@dataclass(frozen=True)
class Finals:
    """The finals of a run, and which of the finalists is `chosen`."""

    reference: Finalist
    candidates: list[Finalist]
    chosen: Finalist


def ranked(finalists: Iterable[Finalist]) -> list[Finalist]:
    """The finalists that did not fail, the highest `rank` first; equal ones keep their order."""
    return sorted((f for f in finalists if f.score is not None), key=lambda f: f.rank, reverse=True)


def train_in_rounds(
    trials: Trials, reference: str, candidates: Sequence[str], starts: Mapping[str, int]
) -> list[Finalist]:
    """Trains the reference and the candidates in rounds; returns all of them, the reference first.

    starts: by architecture, the trial of the search that its training continues. What the journal has is not
    trained again.
    """
    opponent = Finalist("reference", reference)
    everyone = left = [Finalist("final", arch, n, len(candidates)) for n, arch in enumerate(candidates)]
    budget = trials.composition.config.keys.budget
    rounds = schedule(
        len(candidates),
        rounds=budget.final_rounds,
        iterations=budget.final_iterations,
        networks=budget.final_seeds,
    )
    for turn, each in enumerate(rounds):
        if turn > 0:
            left = ranked(left)[: each.candidates]
        playing = left if turn > 0 and opponent.score is None else [opponent, *left]
        plans = [finalist.plans(turn, each, starts.get(finalist.arch)) for finalist in playing]
        results = iter(trials.judge_all([plan for of_one in plans for plan in of_one]))
        for finalist in playing:
            finalist.take([next(results) for _ in range(each.networks)])
    return [opponent, *everyone]


def choose(opponent: Finalist, candidates: Sequence[Finalist], *, competes: bool) -> Finals:
    """The finals with the best of those in the last round; of equal ones, the reference.

    competes: whether the reference may be chosen. Raises RunFailed if all that may be chosen have failed.
    """
    eligible = [opponent, *candidates] if competes else list(candidates)
    longest = max(finalist.results[0].iterations for finalist in eligible)
    best = [finalist for finalist in ranked(eligible) if finalist.results[0].iterations == longest]
    if not best:
        reasons = "; ".join(str(finalist.network.reason) for finalist in eligible)
        raise RunFailed(f"every network of the finals failed: {reasons}")
    return Finals(opponent, list(candidates), chosen=best[0])
