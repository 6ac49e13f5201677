"""Progress on stderr: bars on a terminal, plain lines everywhere else (files, CI, cluster logs)."""

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from nasmeta.reporting.progress.bars import Bars
from nasmeta.reporting.progress.lines import Lines
from nasmeta.reporting.progress.run_status import RunStatus
from nasmeta.run.events import Event, RunFinished


class Progress:
    """An observer that shows progress on `stream`, by default stderr; `clock` gives seconds.

    Call `close` if the run ends early, so that the terminal and the log are as before.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        stream = sys.stderr if stream is None else stream
        self._run_status = RunStatus(clock)
        self._display = Bars(stream) if has_room_for_bars(stream) else Lines(stream, clock)

    def __call__(self, event: Event) -> None:
        self._run_status(event)
        self._display.show(event, self._run_status)
        if isinstance(event, RunFinished):
            self.close()

    def close(self) -> None:
        """Ends the bars. Calling it twice does no harm."""
        self._display.close()


def has_room_for_bars(stream: TextIO) -> bool:
    """Whether `stream` is a terminal with a height; without one, as in some containers, bars vanish."""
    if not stream.isatty():
        return False
    try:
        return os.get_terminal_size(stream.fileno()).lines > 1
    except OSError:
        return True
