"""The state of a run as its events tell it, shared by all displays of progress."""

import time
from collections.abc import Callable

from nasmeta.run.events import Event, RunStarted, TrialFinished, TrialStarted
from nasmeta.trial import TrialResult


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
        self._finished_before = 0

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.trials, self.finished = event.trials, event.finished
                self._finished_before, self._started = event.finished, self._clock()
                self.best = event.best
            case TrialStarted():
                self.running[event.phase, event.trial] = event
            case TrialFinished():
                self.running.pop((event.phase, event.trial), None)
                if event.phase == "search":
                    self.finished += 1
                    self.failed += event.result.status == "failed"
                    self.best = event.result if event.best else self.best
            case _:
                pass

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds for the remaining trials of the search, at the pace of this session.

        None until a trial has ended in this session.
        """
        done = self.finished - self._finished_before
        if done == 0:
            return None
        return (self._clock() - self._started) / done * max(self.trials - self.finished, 0)
