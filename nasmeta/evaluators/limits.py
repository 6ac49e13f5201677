"""What may go wrong with one candidate without ending the run, and how long it may take."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, TypeVar

import torch

from nasmeta.errors import ArchitectureError, Diverged, TimedOut
from nasmeta.training.score import Score, Stop

P = ParamSpec("P")
R = TypeVar("R")

FAILURES = (ArchitectureError, Diverged, TimedOut, RuntimeError, ValueError, ArithmeticError, MemoryError)
"""Errors of one network: it cannot be built, diverges, does not fit in memory, or takes too long.

torch and the modules of search spaces raise RuntimeError and ValueError for shapes that do not fit.
"""


def failure(error: Exception) -> str:
    """The recorded reason of a failure, in one line. Raises `error` again if it means a lost device."""
    lost = getattr(torch, "AcceleratorError", None)  # every later operation of this process would fail too
    if lost is not None and isinstance(error, lost):
        raise error
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no reason given'}"


def check_finite(score: Score) -> None:
    """Raises Diverged if the loss is not finite.

    A network whose loss is NaN on some task has not learned, whatever its accuracy.
    """
    if not math.isfinite(score.loss):
        raise Diverged(f"the meta-validation loss is {score.loss}")


class Limit:
    """A time limit of `max_seconds` for one candidate, of which `spent` are used up; None is no limit.

    `checked` looks at the clock between operations, on every system and in every thread. `run` also ends code
    that never returns to it, such as a network with an endless loop.
    """

    def __init__(self, max_seconds: float | None, spent: float = 0.0) -> None:
        self.max_seconds = max_seconds
        self._end = math.inf if max_seconds is None else time.monotonic() + max_seconds - spent

    def checked(self, stop: Stop) -> Stop:
        """A version of `stop` that raises TimedOut once the time is over."""

        def check() -> bool:
            if time.monotonic() > self._end:
                raise self._over()
            return stop()

        return check

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """function(...), ended by TimedOut between two of its Python operations once the time is over.

        What it was computing is lost, so `function` must not write files. The limit needs the alarm signal of
        the main thread. In other threads, on Windows, and if the alarm is in use already, this is a plain
        call.

        One operation of torch is never cut. Neither is a task in its own thread (task_parallel=threads):
        tasks that have begun run to their end, and the next candidate's tasks wait for them.
        """
        if self._end == math.inf or not _alarm_is_free():
            return function(*args, **kwargs)
        armed, gradients = True, torch.is_grad_enabled()

        def ring(number: int, frame: FrameType | None) -> None:
            if not armed:
                return
            if _delicate(frame):
                signal.setitimer(signal.ITIMER_REAL, 0.01)
            else:
                signal.setitimer(signal.ITIMER_REAL, 1.0)  # again, in case the function catches everything
                raise self._over()

        previous = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, max(self._end - time.monotonic(), 1e-6))
            return function(*args, **kwargs)
        finally:
            armed = False  # first of all: Python looks for signals only at calls
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
            torch.set_grad_enabled(gradients)  # optimizers change it outside of any with-statement

    def _over(self) -> TimedOut:
        return TimedOut(f"not judged within evaluator.max_seconds={self.max_seconds:g}")


def _alarm_is_free() -> bool:
    main = threading.current_thread() is threading.main_thread()
    return main and hasattr(signal, "SIGALRM") and signal.getitimer(signal.ITIMER_REAL)[0] == 0.0


def _delicate(frame: FrameType | None) -> bool:
    """Whether an exception now could leave something half done that outlives the candidate.

    That may be process-wide state that a with-statement sets and restores (torch's modes, its random numbers,
    whether it records gradients), a module that is being imported, or torch.compile at work.
    """
    while frame is not None:
        code = frame.f_code
        if code.co_name in _DELICATE or code.co_filename.endswith(_COMPILER):
            return True
        frame = frame.f_back
    return False


_DELICATE = frozenset({"__enter__", "__exit__", "__del__", "_find_and_load"})
_COMPILER = os.path.join("torch", "_dynamo", "convert_frame.py")
