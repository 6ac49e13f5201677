"""Runs whose candidates share weights, killed and resumed: as exact as any."""

import signal
from pathlib import Path

import pytest

from tests.cli.kills import outcome, spawn
from tests.cli.runs import SAVED

RUNS = {
    "spos": [
        "strategy.start=random",
        "evaluator.sampling=fair",
        "evaluator.finetune_iterations=2",
        "evaluator.criterion=loss",
    ],
    "enas": ["strategy=reinforce", "evaluator.iterations_per_trial=2"],
}


def arguments(name: str, directory: Path) -> list[str]:
    kept = [o for o in SAVED if name == "spos" or not o.startswith("strategy.")]
    run = ["evaluator=supernet", "search_space.widths=[16,24]", "search_space.max_layers=2", *RUNS[name]]
    return ["search", *kept, *run, f"hydra.run.dir={directory}"]


@pytest.fixture(scope="module", params=RUNS)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.mark.parametrize("kill_at,torn", [(3, True), (8, True), (13, False)])
def test_killed_once(name: str, unbroken: Path, tmp_path: Path, kill_at: int, torn: bool) -> None:
    """In the middle of the supernet's training, between it and a trial, and among the trials."""
    directory = tmp_path / "run"
    assert spawn(arguments(name, directory), kill_at, torn) == -signal.SIGKILL
    assert spawn(["resume", str(directory)]) == 0
    assert outcome(directory) == outcome(unbroken)


def test_the_journal_has_the_version_of_the_weights(name: str, unbroken: Path) -> None:
    finished = [r for r in outcome(unbroken)["journal"] if r["event"] == "finished"]
    versions = [r["weights_version"] for r in finished if r["phase"] == "search"]
    assert versions == ([3, 3, 3, 3] if name == "spos" else [3, 5, 7, 9])
    assert {r["weights_version"] for r in finished if r["phase"] != "search"} == {None}
