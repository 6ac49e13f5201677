"""The weights that a run's trials start from and leave behind."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from nasmeta.run.directory import RunDirectory
from nasmeta.run.records import Asked
from nasmeta.run.state import RunState
from nasmeta.training import checkpoint
from nasmeta.trial import Job, Phase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialPlan:
    """A training to make: a trial of the search, one that tries settings of the reference, or a full one.

    start: phase and number of the trial that it continues. spans: see Training. For the others see Job.
    """

    phase: Phase
    trial: int
    arch: str
    iterations: int
    network: int = 0
    start: tuple[Phase, int] | None = None
    spans: tuple[int, ...] = ()

    @classmethod
    def of(cls, asked: Asked) -> "TrialPlan":
        """That of a trial of the search, which may start from the weights of an earlier one."""
        start: tuple[Phase, int] | None = None if asked.start is None else ("search", asked.start)
        return cls("search", asked.trial, asked.arch, asked.iterations, start=start)

    @property
    def key(self) -> tuple[Phase, int]:
        return self.phase, self.trial

    @property
    def facts(self) -> dict[str, Any]:
        """What the journal keeps of it besides its result: nothing for a trial of the search."""
        if self.phase in ("search", "tuning"):
            return {}
        continued = {"continues": self.start[1]} if self.start and self.start[0] == self.phase else {}
        return {"network": self.network, "spans": list(self.spans), **continued}


class TrialWeights:
    """Keeps the files of trials, forgets them, and makes lost ones again.

    directory, state: those of the run. run: runs a job and leaves its file.
    """

    def __init__(
        self, directory: RunDirectory, state: RunState, run: Callable[[Job], object], *, searched: bool
    ) -> None:
        self._directory, self._state, self._run = directory, state, run
        self._searched = searched
        """Whether trials of the search leave weights."""
        self._plans: dict[tuple[Phase, int], TrialPlan] = {}
        self._kept: set[int] = set()
        """The search's finished trials whose files are there."""
        self._seen = 0
        """How many of the finished trials have been looked through."""

    def plan(self, plans: Iterable[TrialPlan]) -> None:
        """Notes trainings, so that their files can be made again."""
        self._plans |= {plan.key: plan for plan in plans}

    def job(self, plan: TrialPlan) -> Job:
        """The job of a planned training. The file that it starts from is made again if it is lost."""
        return Job(
            phase=plan.phase,
            trial=plan.trial,
            arch=plan.arch,
            iterations=plan.iterations,
            weights=self._directory.weights(*plan.key),
            start=self._start(plan),
            network=plan.network,
        )

    def _start(self, plan: TrialPlan) -> Path | None:
        """The file that a planned training starts from; None if it starts from new weights."""
        if plan.start is None or (plan.start[0] == "search" and not self._searched):
            return None
        return self.of(*plan.start)

    def of(self, phase: Phase, trial: int) -> Path:
        """The whole file that a finished trial left. If it is damaged or lost, the trial is run again."""
        path = self._directory.weights(phase, trial)
        if not checkpoint.is_whole(path):
            log.warning("trial %d (%s) is trained again", trial, phase)
            searched = phase == "search"
            plan = TrialPlan.of(self._state.asked[trial]) if searched else self._plans[phase, trial]
            self._run(self.job(plan))
            self._kept |= {trial} if searched else set()
        return path

    def can_start(self, phase: Phase, trial: int) -> bool:
        """Whether a longer full training can continue a finished one from its last iterate."""
        result = self._state.finished[phase, trial]
        if result.status == "failed" or result.kept_iteration is not None:
            return False
        path = self._directory.weights(phase, trial)
        return (phase, trial) in self._plans or (path.is_file() and checkpoint.is_whole(path))

    def forget_unneeded(self, needed: set[int]) -> None:
        """Deletes the files of the search's finished trials, except those `needed` to start from.

        Trials that are to be tried again keep theirs, which hold their progress.
        """
        new = set(islice(self._state.finished, self._seen, None)) - self._state.retries
        self._kept |= {trial for phase, trial in new if phase == "search"}
        self._seen = len(self._state.finished)
        for trial in self._kept - needed:
            checkpoint.forget(self._directory.weights("search", trial))
        self._kept &= needed


def tidy(directory: RunDirectory, state: RunState) -> None:
    """Deletes the files of trials that a run which has ended leaves behind.

    The full trainings that longer ones may continue are kept, in case the run gets a larger budget.
    """
    kept = state.continuable()
    for key in state.finished:
        checkpoint.forget(directory.weights(*key), only_previous=key in kept)
