"""Gradient searches killed and resumed: their tensors and the journal cannot disagree."""

import io
import json
import signal
from pathlib import Path

import pytest
import torch

from nasmeta.cli.main import main
from tests.cli.kills import kill_again_and_again, outcome, spawn
from tests.cli.runs import SAVED

SMALL = [
    "dataset=strokes",
    "dataset.train_classes=12",
    "dataset.valid_classes=6",
    "dataset.test_classes=6",
    "dataset.size=16",
    "dataset.examples=4",
    "task.shot=1",
    "task.query=2",
    "search_space=nasbench201",
    "search_space.width=4",
    "search_space.stages=1",
    "budget.valid_tasks=4",
    "budget.final_tasks=4",
    "budget.test_tasks=4",
    "budget.final_candidates=1",
    "budget.search_iterations=2",
    "budget.final_iterations=2",
]
BASE = [o for o in SAVED if not o.startswith(("strategy.", "dataset", "search_space", "task.shot"))]
RUNS = {
    "gdas": [
        "strategy=differentiable",
        "strategy.epoch_iterations=2",
        "strategy.edges=gumbel",
        "strategy.architecture_lr=0.3",
    ],
    "tnas": ["strategy=meta_differentiable", "strategy.inner_scale=30", "strategy.temperature_end=0.5"],
    "metanas": [
        "strategy=meta_differentiable",
        "meta_learner=reptile",
        "meta_learner.test_steps=3",
        "strategy.warmup=1",
        "strategy.prune_steps=1",
    ],
}


def arguments(name: str, directory: Path) -> list[str]:
    kept = [o for o in BASE if not (o.startswith("meta_learner") and name == "metanas")]
    return ["search", *kept, *SMALL, *RUNS[name], "budget.trials=3", f"hydra.run.dir={directory}"]


@pytest.fixture(scope="module", params=RUNS)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def test_killed_again_and_again(name: str, unbroken: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert kill_again_and_again(arguments(name, directory), directory, 12) >= 2
    assert outcome(directory) == outcome(unbroken)


def test_another_process_reproduces_the_summary_exactly(
    unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """evaluate adapts what the checkpoint holds: weights, and the architecture where it was meta-learned."""
    assert main(["evaluate", str(unbroken), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    best = json.loads((unbroken / "summary.json").read_text())["best"]
    assert [result[k] for k in ("accuracy", "loss", "ci95")] == [
        best[f"test_{k}"] for k in ("accuracy", "loss", "ci95")
    ]


def test_lost_tensors_cost_time_and_change_nothing(unbroken: Path, name: str, tmp_path: Path) -> None:
    if name != "gdas":
        pytest.skip("one search that keeps tensors of its own is enough")
    directory = tmp_path / "run"
    assert spawn(arguments(name, directory), kill_at=11) == -signal.SIGKILL
    (directory / "checkpoints" / "strategy.pt").unlink()
    assert spawn(["resume", str(directory)]) == 0
    assert outcome(directory) == outcome(unbroken)


def test_what_is_trained_in_full(unbroken: Path, name: str) -> None:
    """The last architecture derived; or the mixture, which goes on from where the search ended."""
    result = outcome(unbroken)
    asked = [r["arch"] for r in result["journal"] if r["event"] == "asked"]
    finals = [r for r in result["journal"] if r["event"] == "finished" and r["phase"] == "final"]
    assert [r["arch"] for r in finals] == asked[-1:]
    if "strategy=meta_differentiable" in RUNS[name]:
        assert asked == ["adaptive"] * 3
        lines = [json.loads(line) for line in (unbroken / "journal.jsonl").read_text().splitlines()]
        adaptive = [r for r in lines if r["event"] == "finished" and r["arch"] == "adaptive"]
        assert len(adaptive) == 4
        best = json.loads((unbroken / "summary.json").read_text())["best"]
        assert best["train_seconds"] == pytest.approx(sum(r["train_seconds"] for r in adaptive))
        assert "body.alpha.cell" in result["tensors"]


def test_the_control_compares_on_the_same_tasks(
    unbroken: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint's own row is its meta-test; the others differ from it by the paired mean."""
    if name == "metanas":
        pytest.skip("one search of each kind is enough")
    assert main(["evaluate", str(unbroken), "--control", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in told["control"]["rows"]}
    adaptive = "strategy=meta_differentiable" in RUNS[name]
    assert list(rows) == ["checkpoint", *(["for_all"] if adaptive else []), "random", "four_conv"]
    assert rows["checkpoint"]["accuracy"] == told["accuracy"]
    for row in rows.values():
        gap = rows["checkpoint"]["accuracy"] - row["accuracy"]
        assert row["difference"] == pytest.approx(gap)
    counts = told["control"]["architectures"]
    assert sum(counts.values()) == (4 if adaptive else 0)
    files = {path.stem.partition("-")[0] for path in (unbroken / "control").glob("*.pt")}
    assert files == set(rows) - {"checkpoint"}


def test_what_the_control_trained_is_not_trained_again(
    unbroken: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name != "gdas":
        pytest.skip("one search is enough")
    assert main(["evaluate", str(unbroken), "--control"]) == 0
    assert "four conv" in capsys.readouterr().out
    # Another shot is for the test alone.
    (file,) = (unbroken / "control").glob("random-*.pt")
    kept = file.read_bytes()
    assert main(["evaluate", str(unbroken), "task.shot=2", "budget.test_tasks=3", "--control", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["control"]["tasks"] == 3
    assert file.read_bytes() == kept
    for path in (unbroken / "control").glob("random-*"):
        path.unlink()
    assert main(["evaluate", str(unbroken), "task.shot=2", "--control", "--json"]) == 0
    again, first = (
        torch.load(source, weights_only=True)["training"]["parameters"] for source in (file, io.BytesIO(kept))
    )
    assert all(torch.equal(again[key], first[key]) for key in first)
    assert torch.load(file, weights_only=True)["finished"]
