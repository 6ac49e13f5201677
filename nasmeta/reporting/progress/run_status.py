"""The state of a run as its events tell it, shared by all displays of progress."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from nasmeta.reporting.read.remaining import seconds_left
from nasmeta.run.events import Event, RunStarted, TrialFinished, TrialStarted
from nasmeta.trial import Phase, TrialResult


class RunStatus:
    """The state of a run. Call it with every event, before reading its attributes.

    trials: how many the search has. finished: how many of them have ended, including those before a
    resumption. failed: how many have failed in this session. best: the best result of the search, also from
    before a resumption.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.trials = 0
        self.finished = 0
        self.failed = 0
        self.best: TrialResult | None = None
        self.running: dict[tuple[str, int], TrialStarted] = {}
        """(phase, number) -> the trial in flight, in the order in which they started."""
        self._clock = clock
        self._started = clock()
        self._settings: Mapping[str, Any] = {}
        self._searching = True
        self._ended: dict[tuple[Phase, int], TrialResult] = {}
        self._results: list[TrialResult] = []
        """The results of this session."""

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.trials, self.finished = event.trials, event.finished
                self._ended, self._settings = dict(event.ended), event.settings
                self._searching = event.searching
                self._started = self._clock()
                self.best = event.best
            case TrialStarted():
                self.running[event.phase, event.trial] = event
                self._searching = self._searching and event.phase == "search"
            case TrialFinished():
                self.running.pop((event.phase, event.trial), None)
                self._results.append(event.result)
                self._ended[event.phase, event.trial] = event.result
                if event.phase == "search":
                    self.finished += 1
                    self.failed += event.result.status == "failed"
                    self.best = event.result if event.best else self.best
            case _:
                pass

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the run has ended, full trainings and test included.

        The results say what the rest costs, and the clock how fast such costs pass: several trials at once
        take less time than one after the other. None until a trial that trains a network has ended in this
        session.
        """
        trials = max(self.trials - self.finished, 0) if self._searching else 0
        left = seconds_left(self._settings, self._results, trials=trials, ended=self._ended)
        worked = sum(result.seconds for result in self._results)
        return None if left is None else left * (self._clock() - self._started) / worked
