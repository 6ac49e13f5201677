"""Graceful stops: SIGINT, SIGTERM, SIGHUP and SIGUSR1 ask a run to save and stop.

A process gets SIGHUP when its terminal or its connection closes. SLURM can send SIGUSR1 before it takes a
machine away (`#SBATCH --signal=USR1@60`).
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
]  # Windows has neither SIGHUP nor SIGUSR1


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether a signal has asked to stop.

    A SIGINT after that raises KeyboardInterrupt. Under `nohup`, SIGHUP stays ignored. Outside the main
    thread, where Python handles no signals, the function always returns False.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    previous = {}
    try:
        for number in filter(_heeded, SIGNALS):
            previous[number] = signal.signal(number, ask)
    except ValueError:  # not the main thread
        previous = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _heeded(number: int) -> bool:
    """Whether a signal asks to stop. SIGHUP does not if the process was started with it ignored."""
    hangup = getattr(signal, "SIGHUP", None)
    return number != hangup or signal.getsignal(number) != signal.SIG_IGN
