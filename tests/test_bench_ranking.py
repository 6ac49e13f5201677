"""scripts/bench/ranking.py: known correlations, and a small run."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.scripts import load_beside

FEW = [f"dataset.{split}_classes=8" for split in ("train", "valid", "test")] + [
    "dataset.size=16",
    "budget.final_tasks=4",
]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    script = load_beside("bench/ranking.py")
    script.RESAMPLES = 200
    return script


def test_perfect_reversed_and_unrelated_judgements(script: ModuleType) -> None:
    rng = np.random.default_rng(1)
    pairs = [
        {
            "arch": str(number),
            "params": float(rng.random()),
            "accuracy": trained**3,
            "minus_loss": -trained,
            "unshared_accuracy": trained + 1,
            "unshared_minus_loss": 0.0,
            "scratch": trained,
            "inherit_seconds": 0.5,
            "scratch_seconds": 10.0,
        }
        for number, trained in enumerate(rng.random(40).tolist())
    ]
    line = script.as_line("protonet", pairs, 100.0)
    assert line.by_accuracy == pytest.approx((1, 1, 1))
    assert line.by_loss == pytest.approx((-1, -1, -1))
    assert (line.unshared_by_accuracy, line.unshared_by_loss) == (pytest.approx(1), 0)
    assert abs(line.by_params) < 0.3
    assert (line.times_cheaper, line.architectures) == (20, 40)
    assert "20" in script.as_text([line])


def test_signals_are_compared_over_the_same_resamples(script: ModuleType) -> None:
    rng = np.random.default_rng(1)
    pairs = [
        {
            "accuracy": trained + 0.3 * noise,
            "loss": trained**3,
            "training_speed": -trained,
            "params": 5,
            "scratch": trained,
        }
        for trained, noise in rng.random((40, 2)).tolist()
    ]
    lines = {line.signal: line for line in script.as_signals("protonet", pairs)}
    assert lines["loss"].tau == pytest.approx((1, 1, 1))
    assert lines["training_speed"].tau == pytest.approx((-1, -1, -1))
    assert lines["params"].tau == (0, 0, 0), "a constant says nothing"
    assert lines["accuracy"].over_accuracy == (0, 0, 0)
    tau, low, high = lines["accuracy"].tau
    assert 0.3 < low < tau < high < 1
    assert lines["loss"].over_accuracy == pytest.approx((1 - tau, 1 - high, 1 - low))
    assert "loss" in script.signals_as_text(list(lines.values()))


def test_a_run_with_signals(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both budgets train with the same initial weights, and each has a schedule of its own."""
    run = "--signals --architectures 2 --scratch-iterations 4 --json search_space=conv_small"
    small = [*FEW, "task.query=2", "task.meta_batch=1", "budget.valid_tasks=4", "budget.search_iterations=2"]
    pairs = tmp_path / "pairs.jsonl"
    monkeypatch.setattr(sys, "argv", ["ranking.py", *run.split(), *small, "--pairs", str(pairs)])
    script.main()
    lines = json.loads(capsys.readouterr().out)
    assert [line["signal"] for line in lines] == ["accuracy", "loss", "training_speed", "params"]
    for pair in map(json.loads, pairs.read_text().splitlines()):
        assert 0 <= pair["accuracy"] <= 1
        assert max(pair["loss"], pair["training_speed"]) < 0


def test_a_run(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every architecture is judged with shared weights, with its own, and trained."""
    run = "--architectures 3 --scratch-iterations 4 --json search_space=conv_small search_space.widths=[8]"
    small = [*FEW, "task.query=2", "task.meta_batch=1", "budget.valid_tasks=4", "budget.search_iterations=2"]
    pairs = tmp_path / "pairs.jsonl"
    monkeypatch.setattr(sys, "argv", ["ranking.py", *run.split(), *small, "--pairs", str(pairs)])
    script.main()
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["learner"], line["architectures"]) == ("protonet", 3)
    judged = [json.loads(text) for text in pairs.read_text().splitlines()]
    assert len({pair["arch"] for pair in judged}) == 3
    for pair in judged:
        assert min(pair["accuracy"], pair["unshared_accuracy"], pair["scratch"]) >= 0
        assert max(pair["minus_loss"], pair["unshared_minus_loss"]) < 0
