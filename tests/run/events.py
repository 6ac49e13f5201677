"""Events of a run, for the tests of what is made of them."""

from typing import Any

from nasmeta.run.records import Asked, Finished
from nasmeta.trial import Phase, TrialResult


def result(trial: int, accuracy: float | None, **changes: Any) -> TrialResult:
    """A trial's result; one without an accuracy has failed."""
    values: dict[str, Any] = {
        "trial": trial,
        "arch": f"arch-{trial}",
        "iterations": 10,
        "status": "failed" if accuracy is None else "ok",
        "valid_accuracy": accuracy,
        "reason": "Diverged" if accuracy is None else None,
        "params": 100,
        "flops": 1000,
        "train_seconds": 1.0,
        "seconds": 2.0,
    }
    return TrialResult(**{**values, **changes})


def asked(trial: int, **changes: Any) -> Asked:
    return Asked(**{"trial": trial, "arch": f"arch-{trial}", "iterations": 10, **changes})


def finished(
    trial: int, accuracy: float | None, phase: Phase = "search", elapsed: float = 0.0, **changes: Any
) -> Finished:
    return Finished(phase=phase, elapsed=elapsed, result=result(trial, accuracy, **changes))
