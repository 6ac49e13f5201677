"""How long a run still takes, from the trials that have ended: search, full trainings and the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from nasmeta.run.rounds import schedule, trainings
from nasmeta.trial import Phase, TrialResult

RECENT = 10
"""Only so many of the last trials set the pace, because strategies go from small networks to larger ones."""


@dataclass(frozen=True)
class Pace:
    """Means of recent trials, in seconds. iteration: of one meta-iteration; judgement: of a judgement."""

    trial: float
    iteration: float
    judgement: float

    @classmethod
    def of(cls, results: Sequence[TrialResult]) -> "Pace | None":
        """The pace of the last RECENT trials that trained a network; None if there is none."""
        trained = [r for r in results if r.status == "ok" and r.iterations and r.train_seconds][-RECENT:]
        if not trained:
            return None
        return cls(
            trial=fmean(r.seconds for r in trained),
            iteration=fmean(r.train_seconds / r.iterations for r in trained),
            judgement=fmean(r.seconds - r.train_seconds for r in trained),
        )


def seconds_left(
    settings: Mapping[str, Any],
    results: Sequence[TrialResult],
    *,
    trials: int,
    ended: Mapping[tuple[Phase, int], TrialResult],
) -> float | None:
    """Estimated seconds until the run has ended; None as long as no trial tells how fast it is.

    settings: the configuration by dotted key. results: those of trials that set the pace. trials: how many
    are left of the search. ended: all that has ended, by phase and number. One trial at a time is assumed.
    """
    pace = Pace.of(results)
    if pace is None:
        return None
    rounds = schedule(
        settings["budget.final_candidates"],
        rounds=settings["budget.final_rounds"],
        iterations=settings["budget.final_iterations"],
        networks=settings["budget.final_seeds"],
    )
    full = [result.iterations for (phase, _), result in ended.items() if phase in ("final", "reference")]
    if not full and any(key.startswith("tune.") for key in settings):
        trials += max(settings["budget.reference_trials"] - sum(phase == "tuning" for phase, _ in ended), 0)
    left = trainings(rounds, full)
    tasks = len(left) * settings["budget.final_tasks"] + 2 * settings["budget.test_tasks"]
    judging = tasks / settings["budget.valid_tasks"] * pace.judgement
    return float(trials * pace.trial + sum(left) * pace.iteration + judging)
