"""Progress as bars on a terminal: trials above, the current trial's meta-iterations below."""

import logging
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn, TextIO

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

from nasmeta.reporting.numbers import duration, judged
from nasmeta.reporting.progress.lines import finished, name, reading
from nasmeta.reporting.progress.run_status import RunStatus
from nasmeta.run.events import Event, RunStarted, TrialFinished, TrialReading, TrialStarted

if TYPE_CHECKING:
    Bar = tqdm[NoReturn]


class Bars:
    """Two bars on `stream`: the outer counts the search's trials, the inner follows one trial until it ends.

    If several trials are in flight, the inner bar shows the one whose reading comes first. A line says why a
    trial failed, and how a full training ended that had no bar. Log lines are written above the bars from the
    first event to `close`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._outer: Bar | None = None
        self._inner: Bar | None = None
        self._shown = ""  # the name of the training that the inner bar follows
        self._cleanup = ExitStack()

    def show(self, event: Event, run_status: RunStatus) -> None:
        match event:
            case RunStarted():
                log_above_bars(self._stream, self._cleanup)
                if event.trials:
                    self._outer = self._bar("search", event.trials, event.finished, "trial", leave=True)
            case TrialStarted() if self._inner is None:
                self._follow(event)
            case TrialReading():
                self._advance(event, run_status)
            case TrialFinished():
                self._finish(event, run_status)
            case _:
                pass

    def close(self) -> None:
        for bar in (self._inner, self._outer):
            if bar is not None:
                bar.close()
        self._inner = self._outer = None
        self._cleanup.close()

    def _bar(self, title: str, total: int, initial: int, unit: str, leave: bool) -> "Bar":
        return tqdm(
            desc=title,
            total=total,
            initial=initial,
            unit=unit,
            leave=leave,
            position=0 if self._outer is None else 1,
            file=self._stream,
            dynamic_ncols=True,
        )

    def _follow(self, event: TrialStarted) -> None:
        full = event.phase != "search"
        if full and self._outer is not None:
            self._outer.close()
            self._outer = None
        self._shown = name(event)
        self._inner = self._bar(self._shown, event.iterations, 0, "it", leave=full)

    def _advance(self, event: TrialReading, run_status: RunStatus) -> None:
        if self._inner is None and (event.phase, event.trial) in run_status.running:
            self._follow(run_status.running[event.phase, event.trial])
        if self._inner is not None and name(event) == self._shown:
            self._inner.set_postfix_str(reading(event), refresh=False)
            self._inner.update(max(event.iteration - self._inner.n, 0))

    def _finish(self, event: TrialFinished, run_status: RunStatus) -> None:
        result, shown = event.result, self._inner is not None and name(event) == self._shown
        if result.status == "failed" or (event.phase != "search" and not shown):
            tqdm.write(finished(event, run_status), file=self._stream)
        if self._inner is not None and shown:
            if event.phase != "search":
                self._inner.set_postfix_str(judged(result) if result.status == "ok" else "failed")
            self._inner.close()
            self._inner = None
        if event.phase == "search" and self._outer is not None:
            failed = f"{run_status.failed} failed" if run_status.failed else ""
            best = f"best {judged(run_status.best)}" if run_status.best else ""
            seconds = run_status.seconds_left
            left = "" if seconds is None else f"{duration(seconds)} left in all"  # tqdm's is of the search
            self._outer.set_postfix_str(", ".join(filter(None, (best, failed, left))), refresh=False)
            self._outer.update(1)


def log_above_bars(stream: TextIO, cleanup: ExitStack) -> None:
    """Makes every log handler that writes to the terminal write above the bars, until `cleanup` closes.

    Unlike tqdm's own redirection it keeps the handlers, and so their levels, filters and formats.
    """
    names = [None, *logging.root.manager.loggerDict]
    handlers = {handler for name in names for handler in logging.getLogger(name).handlers}
    for handler in handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream in (stream, sys.stdout, sys.stderr):
            original = handler.stream
            handler.setStream(DummyTqdmFile(original))
            cleanup.callback(handler.setStream, original)
    last_resort = logging.lastResort
    logging.lastResort = logging.StreamHandler(DummyTqdmFile(stream))
    logging.lastResort.setLevel(logging.WARNING)
    cleanup.callback(setattr, logging, "lastResort", last_resort)
