"""What every evaluator must do, as checks of the evaluators that `make()` returns, a new one at each call.

`arch` is the canonical string of an architecture that the evaluator can judge with `iterations` iterations.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nasmeta.errors import Interrupted
from nasmeta.evaluators.base import Evaluator
from nasmeta.training.meta_training import Reading
from nasmeta.training.weights import Weights
from nasmeta.trial import Job, TrialResult

Make = Callable[[], Evaluator]


def judged(
    evaluator: Evaluator,
    arch: str,
    iterations: int,
    weights: Path,
    stop: Callable[[], bool] = lambda: False,
    *,
    start: Path | None = None,
) -> TrialResult:
    """The result of `arch` as trial 7; `weights` is where the evaluator may leave its weights."""

    def report(reading: Reading) -> None:
        assert 0 < reading.iteration <= iterations

    job = Job(phase="search", trial=7, arch=arch, iterations=iterations, weights=weights, start=start)
    return evaluator.evaluate(job, report, stop)


def timeless(result: TrialResult) -> TrialResult:
    return replace(result, seconds=0.0, train_seconds=0.0)


def check_result(make: Make, arch: str, iterations: int, folder: Path) -> None:
    """A result is finite, repeats what was asked, and has no accuracy if it has a proxy."""
    evaluator = make()
    result = judged(evaluator, arch, iterations, folder / "w.pt")
    assert (result.trial, result.arch, result.iterations) == (7, arch, iterations)
    assert (result.status, result.reason) == ("ok", None)
    assert result.score is not None
    assert math.isfinite(result.score)
    assert result.valid_accuracy is None or 0 <= result.valid_accuracy <= 1
    assert result.seconds >= result.train_seconds >= 0
    if result.proxy is not None:
        assert result.valid_accuracy is result.valid_loss is result.valid_ci95 is None


def check_idempotent(make: Make, arch: str, iterations: int, folder: Path) -> None:
    """The result is the same when judged again, and by another instance."""
    first = make()
    results = [timeless(judged(first, arch, iterations, folder / f"{i}.pt")) for i in range(2)]
    results.append(timeless(judged(make(), arch, iterations, folder / "2.pt")))
    assert results[0] == results[1] == results[2]


def check_stop(make: Make, arch: str, iterations: int, folder: Path) -> None:
    """It raises Interrupted if stopped, at once or midway; resumed from there, the result is the same."""
    whole = timeless(judged(make(), arch, iterations, folder / "whole.pt"))
    for allowed in (0, 1, 2):
        calls = iter(range(1_000_000))
        weights = folder / f"after-{allowed}.pt"
        try:
            stopped = judged(make(), arch, iterations, weights, lambda: next(calls) >= allowed)  # noqa: B023
        except Interrupted:
            stopped = judged(make(), arch, iterations, weights)
        else:
            assert allowed > 0, "it does not ask whether to stop"
        assert timeless(stopped) == whole


def check_failure(make: Make, arch: str, iterations: int, folder: Path) -> None:
    """If `arch` cannot be judged, the result is failed, with a reason and no numbers, not an exception."""
    result = judged(make(), arch, iterations, folder / "w.pt")
    assert result.status == "failed"
    assert result.reason
    assert "\n" not in result.reason
    assert result.score is result.valid_accuracy is result.valid_loss is result.proxy is None


def check_weights(make: Make, arch: str, iterations: int, folder: Path) -> None:
    """The evaluator leaves weights at the given path if `leaves_weights` is true, and no file otherwise."""
    evaluator, weights = make(), folder / "w.pt"
    judged(evaluator, arch, iterations, weights)
    if evaluator.leaves_weights:
        assert torch.is_tensor(next(iter(Weights.read(weights).parameters.values())))
        with pytest.raises(NotImplementedError):
            evaluator.test(arch, iterations)
    else:
        assert not list(folder.iterdir())
    if not evaluator.trains_networks():
        assert 0 <= evaluator.test(arch, iterations).accuracy <= 1
