"""The finals: the best candidates and the reference are trained in full, and validation chooses one.

Successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943): every round trains longer and keeps the
better half of the candidates. All networks are judged on the same meta-validation tasks, on which nothing was
judged before. The reference takes part in every round, since the chosen network is compared with it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import fmean

from nasmeta.errors import RunFailed
from nasmeta.run.ranking import best_of
from nasmeta.run.rounds import Round, rounds_of
from nasmeta.run.state import Training
from nasmeta.run.trials import Trials
from nasmeta.run.weights import TrialPlan
from nasmeta.trial import Phase, TrialResult


@dataclass
class Finalist:
    """An architecture in the finals.

    phase: "reference", or "final" for a candidate. results: those of its latest round, one for each of its
    networks; their train_seconds include those of the trainings that they continue.
    """

    phase: Phase
    arch: str
    results: list[TrialResult] = field(default_factory=list)

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


def ranked_finalists(finalists: Iterable[Finalist]) -> list[Finalist]:
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
    everyone = left = [Finalist("final", arch) for arch in candidates]
    budget = trials.composition.config.keys.budget
    rounds = rounds_of(budget, len(candidates))
    for turn, each in enumerate(rounds):
        if turn > 0:
            left = ranked_finalists(left)[: each.candidates]
        playing = left if turn > 0 and opponent.score is None else [opponent, *left]
        plans = _plans(trials, _trainings(trials, playing, each, len(rounds)), starts)
        results = iter(trials.judge_all(plans))
        for finalist, first in zip(playing, range(0, len(plans), each.networks), strict=True):
            finalist.results = [
                replace(next(results), train_seconds=_train_seconds(trials, plan, starts))
                for plan in plans[first : first + each.networks]
            ]
    return [opponent, *everyone]


def _train_seconds(trials: Trials, plan: TrialPlan, starts: Mapping[str, int]) -> float:
    """The seconds of a meta-training, with those of the trainings that it continues."""
    seconds = trials.state.train_seconds(plan.key)
    if plan.network == 0 and plan.arch in starts:
        seconds += trials.state.train_seconds(("search", starts[plan.arch]))
    return seconds


def _trainings(trials: Trials, playing: Sequence[Finalist], each: Round, rounds: int) -> list[Training]:
    """The trainings of one of the `rounds`, for which its finalists are given."""
    composition, budget = trials.composition, trials.composition.config.keys.budget
    trainings = []
    for finalist in playing:
        optimizer = composition.problem.for_arch(composition.space.parse(finalist.arch)).optimizer
        spans: tuple[int, ...] = () if optimizer.open_ended else (budget.final_iterations,)
        if budget.keep == "best":
            spans = budget.final_iterations, rounds
        trainings += [
            Training(finalist.phase, finalist.arch, each.iterations, network, spans)
            for network in range(each.networks)
        ]
    return trainings


def _plans(trials: Trials, trainings: Sequence[Training], starts: Mapping[str, int]) -> list[TrialPlan]:
    """The trainings with their numbers. Those that have a result keep its number; others get free ones.

    Each continues the longest training that is its beginning, if there is one; or else the first network of
    an architecture continues the trial of the search that `starts` names.
    """
    state = trials.state
    taken, plans = set(state.finished), list[TrialPlan]()
    for training in trainings:
        phase, arch, iterations, network, spans = training
        number = state.trained.get(training)
        if number is None:
            number = next(n for n in count() if (phase, n) not in taken)
        taken.add((phase, number))
        start: tuple[Phase, int] | None = ("search", starts[arch]) if arch in starts and not network else None
        beginnings = [t for t in state.trained if t._replace(iterations=iterations) == training]
        for beginning in sorted(beginnings, key=lambda t: t.iterations):
            key = phase, state.trained[beginning]
            if beginning.iterations < iterations and trials.weights.can_start(*key):
                start = key
        plans.append(TrialPlan(phase, number, arch, iterations, network, start, spans))
    return plans


def choose(opponent: Finalist, candidates: Sequence[Finalist], *, competes: bool) -> Finals:
    """The finals with the best of those in the last round; of equal ones, the reference.

    competes: whether the reference may be chosen. Raises RunFailed if all that may be chosen have failed.
    """
    eligible = [opponent, *candidates] if competes else list(candidates)
    longest = max(finalist.results[0].iterations for finalist in eligible)
    best = [finalist for finalist in ranked_finalists(eligible) if finalist.results[0].iterations == longest]
    if not best:
        reasons = "; ".join(str(finalist.network.reason) for finalist in eligible)
        raise RunFailed(f"every network of the finals failed: {reasons}")
    return Finals(opponent, list(candidates), chosen=best[0])
