"""What may go wrong with one candidate without ending the run, and how long it may take."""

import math
import time

import torch

from nasmeta.errors import ArchitectureError, Diverged, TimedOut
from nasmeta.meta_learners.score import Score, Stop

FAILURES = (ArchitectureError, Diverged, TimedOut, RuntimeError, ValueError, ArithmeticError, MemoryError)
"""Errors of one network: it cannot be built, learns nothing finite, does not fit in memory, takes too long.

torch and the modules of a search space raise RuntimeError and ValueError for shapes that do not fit.
"""


def failure(error: Exception) -> str:
    """The reason that is recorded, one line. Raises the error again where the device is lost by it."""
    lost = getattr(torch, "AcceleratorError", None)  # every later operation of this process would fail too
    if lost is not None and isinstance(error, lost):
        raise error
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no reason given'}"


def check_finite(score: Score) -> None:
    """Raises Diverged: a network whose loss is NaN on some task has not learned, whatever its accuracy."""
    if not math.isfinite(score.loss):
        raise Diverged(f"the meta-validation loss is {score.loss}")


def limited(stop: Stop, max_seconds: float | None, spent: float = 0.0) -> Stop:
    """`stop`, but raising TimedOut once `max_seconds` are over, of which `spent` were used before."""
    if max_seconds is None:
        return stop
    end = time.monotonic() + max_seconds - spent

    def check() -> bool:
        if time.monotonic() > end:
            raise TimedOut(f"not judged within evaluator.max_seconds={max_seconds:g}")
        return stop()

    return check
