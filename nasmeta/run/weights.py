"""The weights that a run's trials start from and leave behind."""

import logging
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from nasmeta.run.directory import RunDirectory
from nasmeta.run.records import Asked
from nasmeta.run.state import RunState
from nasmeta.training import checkpoint
from nasmeta.trial import Job, Phase

log = logging.getLogger(__name__)


class TrialWeights:
    """Keeps the files of trials, forgets them, and makes lost ones again.

    directory, state: those of the run. search_iterations, full_iterations: the budgets of a candidate and of
    a full training. run: runs a job and leaves its file.

    shared: the architecture, if any, whose full training is done once, as the reference's, although it is
    also a final candidate. It is known once the search is over.
    """

    def __init__(
        self,
        directory: RunDirectory,
        state: RunState,
        *,
        search_iterations: int,
        full_iterations: int,
        run: Callable[[Job], object],
    ) -> None:
        self._directory, self._state, self._run = directory, state, run
        self._search_iterations, self._full_iterations = search_iterations, full_iterations
        self.shared: str | None = None
        self.final_starts: set[int] = set()
        """The search's trials whose training the full training of the same architecture continues."""
        self._kept: set[int] = set()
        """The search's finished trials whose files are there; `_seen` results have been looked through."""
        self._seen = 0

    def search_job(self, asked: Asked) -> Job:
        """The job of a trial of the search, which may start from the weights of an earlier one."""
        start = None if asked.start is None else self.of("search", asked.start)
        return self._job("search", asked.trial, asked.arch, asked.iterations, start)

    def tuning_job(self, trial: int, arch: str) -> Job:
        """The job that tries settings of the reference, at the budget of a candidate."""
        return self._job("tuning", trial, arch, self._search_iterations, None)

    def full_job(self, phase: Phase, trial: int, arch: str) -> Job:
        """The full training of a final candidate or of the reference."""
        searched = self._state.finished
        starts = (trial for trial in self.final_starts if searched["search", trial].arch == arch)
        start = next(starts, None)
        weights = None if start is None else self.of("search", start)
        return self._job(phase, trial, arch, self._full_iterations, weights)

    def of(self, phase: Phase, trial: int) -> Path:
        """The whole file that a finished trial left. If it is damaged or lost, the trial is run again."""
        if phase == "final" and self._state.finished[phase, trial].arch == self.shared:
            phase, trial = "reference", 0
        path = self._directory.weights(phase, trial)
        if not checkpoint.is_whole(path):
            log.warning("trial %d (%s) is trained again", trial, phase)
            if phase == "search":
                job = self.search_job(self._state.asked[trial])
            else:
                job = self.full_job(phase, trial, self._state.finished[phase, trial].arch)
            self._run(job)
            self._kept |= {trial} if phase == "search" else set()
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

    def _job(self, phase: Phase, trial: int, arch: str, iterations: int, start: Path | None) -> Job:
        weights = self._directory.weights(phase, trial)
        return Job(phase=phase, trial=trial, arch=arch, iterations=iterations, weights=weights, start=start)
