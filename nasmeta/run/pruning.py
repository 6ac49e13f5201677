"""The early end of the jobs of a study that promise little.

Whether a job is pruned depends only on its own trials and on the jobs of earlier batches. Jobs of the same
batch do not see each other, so the decision is the same however fast each of them is.
"""

from collections.abc import Callable, Sequence
from typing import Any

from nasmeta.run.manifest import StudySettings, SweepJob
from nasmeta.run.ranking import best_of
from nasmeta.run.study import empty_study, imported, state_of, steps, values_of
from nasmeta.trial import TrialResult

Prune = Callable[[Sequence[TrialResult]], bool]
"""Whether a run should end early, given the results of its search so far in the order of their ends."""


class Pruning:
    """Decides after each trial of the job `number` whether the study ends it; see `Prune`.

    It depends on the settings of the study and the listed `jobs` of earlier batches alone. scores: the best
    score after each trial so far. notes: what the pruner has noted about the job; the pruning of later jobs
    depends on it.
    """

    def __init__(self, settings: StudySettings, jobs: Sequence[SweepJob], number: int) -> None:
        self.scores: list[float | None] = []
        self._prunes = settings.pruner["name"] != "NopPruner"
        if not self._prunes:
            return
        self._study = empty_study(settings, imported().samplers.RandomSampler(seed=0))
        before = number - number % settings.n_jobs
        for job in jobs[:before]:
            self._study.add_trial(_ended(job, settings))
        self._trial = [self._study.ask() for _ in range(before, number + 1)][-1]

    def __call__(self, results: Sequence[TrialResult]) -> bool:
        pruned = False
        for step in range(len(self.scores), len(results)):
            best = best_of(results[: step + 1])
            self.scores.append(None if best is None else best.score)
            if self._prunes and best is not None:
                self._trial.report(float(best.score or 0.0), step)
                pruned = self._trial.should_prune()
        return pruned

    @property
    def notes(self) -> dict[str, float]:
        return dict(self._study.trials[-1].system_attrs) if self._prunes else {}


def _ended(job: SweepJob, settings: StudySettings) -> Any:
    """A job of an earlier batch as a pruner sees it."""
    return imported().trial.create_trial(
        state=state_of(job, settings),
        values=values_of(job, settings),
        intermediate_values=dict(steps(job.scores)),
        system_attrs=job.notes,
    )
