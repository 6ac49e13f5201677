"""What may go wrong with one candidate without ending the run, and how long it may take."""

import math
import time

import torch

from nasmeta.errors import ArchitectureError, Diverged, TimedOut
from nasmeta.training.score import Stop

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


def limited(stop: Stop, max_seconds: float | None, spent: float = 0.0) -> Stop:
    """`stop`, which also raises TimedOut once a candidate has taken `max_seconds`; None is no limit.

    spent: how many of these seconds were used before this call. Evaluators call the result after every
    meta-iteration and between the tasks that judge a network. An operation that never returns is not ended.
    """
    end = math.inf if max_seconds is None else time.monotonic() + max_seconds - spent

    def check() -> bool:
        if time.monotonic() > end:
            raise TimedOut(f"not judged within evaluator.max_seconds={max_seconds:g}")
        return stop()

    return check
