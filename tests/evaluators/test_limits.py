"""Candidates that go wrong are failed results with a reason; the run goes on, or says why it cannot."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.errors import RunFailed
from nasmeta.evaluators.limits import Limit
from nasmeta.evaluators.problem import Problem
from nasmeta.meta_learners.train import MetaTraining
from tests.test_search import records, run

SHORT = ("budget.trials=2", "budget.final_candidates=1")


def test_one_candidate_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = MetaTraining.step
    steps = iter(range(10_000))

    def slow(self: MetaTraining) -> None:
        if next(steps) == 1:  # of the first candidate
            time.sleep(1.1)
        step(self)

    monkeypatch.setattr(MetaTraining, "step", slow)
    summary = run(tmp_path, *SHORT, "evaluator.max_seconds=1.0", "budget.trials=3")
    assert summary["failed_trials"] == 1
    (failed,) = records(tmp_path, "finished", phase="search", status="failed")
    assert failed["trial"] == 0
    assert failed["reason"] == "TimedOut: not judged within evaluator.max_seconds=1"
    monkeypatch.undo()
    assert run(tmp_path, *SHORT, "evaluator.max_seconds=1.0", "budget.trials=3") == summary, "as recorded"


def test_all_take_too_long(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"the first 2 trials all failed, the last one: TimedOut: not judged"):
        run(tmp_path, *SHORT, "evaluator.max_seconds=0.000001")


def test_the_time_before_an_interruption_counts() -> None:
    stop = Limit(10.0, spent=9.99).checked(lambda: False)
    time.sleep(0.02)
    with pytest.raises(Exception, match="max_seconds=10"):
        stop()
    assert Limit(10.0).checked(lambda: True)() is True
    assert Limit(None).checked(lambda: True)() is True


@pytest.mark.parametrize(
    "error,reason",
    [
        (
            RuntimeError("mat1 and mat2 shapes cannot be multiplied\nmore"),
            "RuntimeError: mat1 and",
        ),
        (ValueError("Expected more than 1 value per channel"), "ValueError: Expected more than"),
        (torch.OutOfMemoryError("CUDA out of memory"), "_DoesNotFit: CUDA out of memory"),
        (MemoryError(), "MemoryError: no reason given"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_module_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    training = Problem.training
    first: list[Any] = []

    def broken(self: Problem, arch: Any, iterations: int) -> Any:
        first[:] = first or [arch]
        if arch == first[0] and iterations == 3:
            raise error
        return training(self, arch, iterations)

    monkeypatch.setattr(Problem, "training", broken)
    summary = run(tmp_path, *SHORT, "budget.trials=3")
    assert summary["failed_trials"] >= 1
    failed = records(tmp_path, "finished", phase="search", status="failed")
    assert failed[0]["reason"].startswith(reason)
    assert "\n" not in failed[0]["reason"]
