"""A network whose loss is finite on meta-validation tasks and not on meta-test tasks."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.run import ending
from nasmeta.training.score import Score
from tests.cli.runs import search


def diverging(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The meta-test number `at` of a run is infinite: the searched network's is 0, the reference's 1."""
    calls: list[Score] = []
    score = ending.score

    def scored(*arguments: Any, **options: Any) -> Score:
        found = score(*arguments, **options)
        calls.append(found)
        infinite = torch.full_like(found.per_task, math.inf)
        return replace(found, loss=math.inf, per_task=infinite) if len(calls) == at + 1 else found

    monkeypatch.setattr(ending, "score", scored)


def test_a_reference_that_diverges_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverging(monkeypatch, at=1)
    assert (
        search(
            tmp_path / "run",
            "seed=1",
            "budget.trials=2",
            "budget.final_candidates=1",
            "strategy.start=initial",
        )
        == 0
    )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["reference"]["test_loss"] is None
    assert "not finite" in summary["reference"]["reason"]
    assert math.isfinite(summary["best"]["test_loss"])


def test_a_searched_network_that_diverges_fails_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    diverging(monkeypatch, at=0)
    assert search(tmp_path / "run", "budget.trials=2") == 1
    assert "diverges on meta-test tasks" in capsys.readouterr().err.splitlines()[-1]


def test_a_loss_beside_an_accuracy_need_not_be_finite() -> None:
    tested = Score(accuracy=0.2, loss=math.inf, ci95=0.1, per_task=torch.tensor([0.1, 0.3]))
    assert ending.has_result(tested)
    numbers = ending.tested_numbers(tested)
    assert (numbers["test_accuracy"], numbers["test_loss"]) == (0.2, None)
    assert json.dumps(numbers, allow_nan=False)
