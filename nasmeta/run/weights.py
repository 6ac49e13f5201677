"""The weights that a run's trials start from and leave behind."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nasmeta.run.directory import RunDirectory
from nasmeta.run.records import Asked
from nasmeta.run.state import RunState
from nasmeta.training import checkpoint
from nasmeta.trial import Job, Phase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A training that no strategy asked for: one that tries settings of the reference, or one of the finals.

    start: phase and number of the trial that it continues. For the others see Job.
    """

    phase: Phase
    trial: int
    arch: str
    iterations: int
    network: int = 0
    start: tuple[Phase, int] | None = None

    @property
    def key(self) -> tuple[Phase, int]:
        return self.phase, self.trial


class TrialWeights:
    """Keeps the files of trials, forgets them, and makes lost ones again.

    directory, state: those of the run. run: runs a job and leaves its file.
    """

    def __init__(self, directory: RunDirectory, state: RunState, run: Callable[[Job], object]) -> None:
        self._directory, self._state, self._run = directory, state, run
        self._plans: dict[tuple[Phase, int], Plan] = {}
        self._kept: set[int] = set()
        """The search's finished trials whose files are there; `_seen` results have been looked through."""
        self._seen = 0

    def search_job(self, asked: Asked) -> Job:
        """The job of a trial of the search, which may start from the weights of an earlier one."""
        start: tuple[Phase, int] | None = None if asked.start is None else ("search", asked.start)
        return self.job(Plan("search", asked.trial, asked.arch, asked.iterations, start=start))

    def plan(self, plans: Iterable[Plan]) -> None:
        """Notes trainings, so that their files can be made again."""
        self._plans |= {plan.key: plan for plan in plans}

    def job(self, plan: Plan) -> Job:
        """The job of a planned training. The file that it starts from is made again if it is lost."""
        return Job(
            phase=plan.phase,
            trial=plan.trial,
            arch=plan.arch,
            iterations=plan.iterations,
            weights=self._directory.weights(*plan.key),
            start=None if plan.start is None else self.of(*plan.start),
            network=plan.network,
        )

    def of(self, phase: Phase, trial: int) -> Path:
        """The whole file that a finished trial left. If it is damaged or lost, the trial is run again."""
        path = self._directory.weights(phase, trial)
        if not checkpoint.is_whole(path):
            log.warning("trial %d (%s) is trained again", trial, phase)
            searched = phase == "search"
            asked = self._state.asked
            self._run(self.search_job(asked[trial]) if searched else self.job(self._plans[phase, trial]))
            self._kept |= {trial} if searched else set()
        return path

    def forget_unneeded(self, needed: set[int]) -> None:
        """Deletes the files of the search's finished trials, except those `needed` to start from."""
        new = islice(self._state.finished, self._seen, None)
        self._kept |= {trial for phase, trial in new if phase == "search"}
        self._seen = len(self._state.finished)
        for trial in self._kept - needed:
            checkpoint.forget(self._directory.weights("search", trial))
        self._kept &= needed

    def forget_all(self) -> None:
        """Deletes the files of all finished trials, once the run has ended."""
        for phase, trial in self._state.finished:
            checkpoint.forget(self._directory.weights(phase, trial))
