"""What every evaluator must do, as checks over one made by `make()`, of which each call makes a new one.

`arch` is an architecture that it can judge, as its canonical string, at `iterations`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nasmeta.errors import Interrupted
from nasmeta.evaluators.base import Evaluator
from nasmeta.training import checkpoint
from nasmeta.training.meta_training import Progress
from nasmeta.trial import TrialResult

Make = Callable[[], Evaluator]


def judged(
    evaluator: Evaluator, arch: str, iterations: int, weights: Path, stop: Callable[[], bool] = lambda: False
) -> TrialResult:
    """Trial 7's result."""

    def report(progress: Progress) -> None:
        assert 0 < progress.iteration <= iterations

    return evaluator.evaluate(arch, iterations, 7, weights, report=report, stop=stop)


def timeless(result: TrialResult) -> TrialResult:
    return replace(result, seconds=0.0, train_seconds=0.0)


def check_result(make: Make, arch: str, iterations: int, folder: Path) -> None:
    """A result is finite, says what was asked, and holds no accuracy beside a proxy."""
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
    """The same again, by another instance, whatever was judged in between."""
    first = make()
    results = [timeless(judged(first, arch, iterations, folder / f"{i}.pt")) for i in range(2)]
    results.append(timeless(judged(make(), arch, iterations, folder / "2.pt")))
    assert results[0] == results[1] == results[2]


def check_stop(make: Make, arch: str, iterations: int, folder: Path) -> None:
    """Stopped at once, or in the middle, it raises Interrupted; what goes on from there ends the same."""
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
    """`arch` cannot be judged: a failed result that says why, without numbers, not an exception."""
    result = judged(make(), arch, iterations, folder / "w.pt")
    assert result.status == "failed"
    assert result.reason
    assert "\n" not in result.reason
    assert result.score is result.valid_accuracy is result.valid_loss is result.proxy is None


def check_weights(make: Make, arch: str, iterations: int, folder: Path) -> None:
    """Weights are left where the evaluator says so, and nowhere else."""
    evaluator, weights = make(), folder / "w.pt"
    judged(evaluator, arch, iterations, weights)
    if evaluator.leaves_weights:
        assert torch.is_tensor(next(iter(checkpoint.load(weights)["training"]["parameters"].values())))
        with pytest.raises(NotImplementedError):
            evaluator.test(arch, iterations)
    else:
        assert not list(folder.iterdir())
    if not evaluator.trains_networks():
        assert 0 <= evaluator.test(arch, iterations).accuracy <= 1
