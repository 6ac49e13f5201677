"""Progress as plain lines, for a stderr that is not a terminal, and the sentences that all displays share."""

from collections.abc import Callable
from typing import TextIO

from nasmeta.reporting.numbers import costs, duration, judged, measured, score, shorten
from nasmeta.reporting.progress.run_status import RunStatus
from nasmeta.run.events import Event, RunStarted, TrialFinished, TrialReading, TrialStarted

ARCH_WIDTH = 60
REASON_WIDTH = 200
SECONDS_BETWEEN_READINGS = 30.0
NAMES = {"search": "trial {}", "tuning": "reference, settings {}", "final": "final trial {}"}


class Lines:
    """Prints a line at the start, for every finished trial, and for a reading at most every 30 seconds.

    `clock` gives seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._last = clock()

    def show(self, event: Event, run_status: RunStatus) -> None:
        match event:
            case RunStarted():
                self._print(started(event))
            case TrialStarted() if event.phase != "search":
                arch = shorten(event.arch, ARCH_WIDTH)
                self._print(f"{name(event)}: training {arch} for {event.iterations} iterations")
            case TrialReading() if self._clock() - self._last >= SECONDS_BETWEEN_READINGS:
                self._print(
                    f"{name(event)}: iteration {event.iteration}/{event.iterations}, {reading(event)}"
                )
            case TrialFinished():
                self._print(finished(event, run_status))
            case _:
                pass

    def close(self) -> None:
        """Does nothing; the other displays have something to close."""

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
        self._last = self._clock()


def name(event: TrialStarted | TrialReading | TrialFinished) -> str:
    """The name of a training: "trial 7", "final trial 1", "reference", or "reference 1" for a further one."""
    if event.phase == "reference" and event.trial:
        return f"reference {event.trial}"
    return NAMES.get(event.phase, event.phase).format(event.trial)


def started(event: RunStarted) -> str:
    """The first line, like "search of 20 trials in DIR (batch_norm: support)".

    For a resumed run it says how many trials are done. If the architecture is given, there are none.
    """
    where = f"in {event.directory} (batch_norm: {event.batch_norm})"
    if not event.trials:
        return f"resuming the training {where}" if event.resumed else f"training {where}"
    if event.resumed:
        return f"resuming the search: {event.finished} of {event.trials} trials are done, {where}"
    return f"search of {event.trials} trials {where}"


def reading(event: TrialReading) -> str:
    """What a reading says: "train loss 0.412, train accuracy 88.1 %", or "judged ..."."""
    accuracy = "" if event.accuracy is None else f", {event.of} accuracy {measured(event.accuracy, None)}"
    return f"{event.of} loss {measured(None, event.loss)}{accuracy}"


def finished(event: TrialFinished, run_status: RunStatus) -> str:
    """A line about a finished trial.

    Like "[8/20] trial 7 ARCH: valid 93.4 ± 0.8 %, 111.9 K parameters, 41 s; best 94.1 %; about 8 min left".
    """
    result, search = event.result, event.phase == "search"
    count = f"[{run_status.finished}/{run_status.trials}] " if search else ""
    head = f"{count}{name(event)} {shorten(result.arch, ARCH_WIDTH)}"
    rest = _rest(run_status, search)
    if result.status == "failed":
        return f"{head}: failed: {shorten(result.reason or 'unknown reason', REASON_WIDTH)}{rest}"
    numbers = filter(None, (judged(result), costs(result), duration(result.seconds)))
    return f"{head}: {', '.join(numbers)}{rest}"


def _rest(run_status: RunStatus, search: bool) -> str:
    best, left = run_status.best, run_status.seconds_left
    text = f"; best {score(best)}" if search and best is not None else ""
    return text if left is None else f"{text}; about {duration(left)} left"
