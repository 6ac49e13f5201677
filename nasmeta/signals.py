"""Stopping politely: SIGINT, SIGTERM and SIGUSR1 ask a run to save and stop.

SIGUSR1 is what SLURM sends before it takes a machine away (`#SBATCH --signal=USR1@60`).
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
]  # Windows has no SIGUSR1


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Inside, the yielded function says whether a signal has asked to stop; a second SIGINT stops at once.

    Outside the main thread, where Python handles no signals, it never says so.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    previous = {}
    try:
        for number in SIGNALS:
            previous[number] = signal.signal(number, ask)
    except ValueError:  # not the main thread
        previous = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
