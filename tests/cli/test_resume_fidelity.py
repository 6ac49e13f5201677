"""Strategies that keep more than one trial's files: killed and resumed, they end as if never interrupted."""

import signal
from pathlib import Path

import pytest

from nasmeta.cli import main
from nasmeta.composition import Composition
from nasmeta.config import parse
from nasmeta.evaluators.scratch import Scratch
from nasmeta.journal import Journal
from nasmeta.rundir import RunDirectory
from tests.cli.runs import TINY
from tests.cli.test_resume import outcome, spawn

# TINY without the options of evolution, which the others do not have.
BASE = [override for override in TINY if not override.startswith("strategy.")]
RUNS = {
    "hyperband": [
        "strategy=hyperband",
        "strategy.eta=2",
        "strategy.min_share=0.3",
        "budget.trials=6",
        "budget.search_iterations=4",
    ],
}


def arguments(name: str, directory: Path) -> list[str]:
    return ["search", *BASE, *RUNS[name], f"hydra.run.dir={directory}"]


@pytest.fixture(scope="module", params=RUNS)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture(scope="module")
def unbroken(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp(name) / "run"
    assert spawn(arguments(name, directory)) == 0
    return directory


def test_killed_again_and_again(name: str, unbroken: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    command, kills = arguments(name, directory), 0
    while spawn(command, kill_at=9, torn=kills % 2 == 1) == -signal.SIGKILL:
        command, kills = ["resume", str(directory)], kills + 1
        assert kills < 100, "the run makes no progress"
    assert kills >= 3
    assert outcome(directory) == outcome(unbroken)


def test_nothing_is_left_behind(unbroken: Path) -> None:
    assert not list((unbroken / "checkpoints").iterdir())


def test_hyperband_continues_the_meta_training_it_promotes(tmp_path: Path) -> None:
    """A promoted trial's score is that of its architecture trained in one go, to the last bit."""
    directory = tmp_path / "run"
    assert main([*arguments("hyperband", directory), "optimizer.schedule=linear"]) == 0
    with Journal(directory / "journal.jsonl") as journal:
        asked = {r["trial"]: r for r in journal.records if r["event"] == "asked"}
        finished = [r for r in journal.records if r["event"] == "finished"]
    searched = {r["trial"]: r for r in finished if r["phase"] == "search"}
    promoted = [r for r in asked.values() if r["continues"] is not None]
    assert promoted
    composition = Composition.of(parse(RunDirectory(directory).load_config(), trusted=True))
    scratch = Scratch(problem=composition.problem())
    for record in promoted:
        before = asked[record["continues"]]
        assert (record["arch"], record["iterations"]) == (before["arch"], 2 * before["iterations"])
        whole = scratch.evaluate(
            record["arch"], record["iterations"], 0, tmp_path / "w", report=lambda _: None, stop=lambda: False
        )
        assert whole.valid_loss == searched[record["trial"]]["valid_loss"]
        (tmp_path / "w").unlink()
    longest = sorted(
        (r for r in searched.values() if r["iterations"] == 4), key=lambda r: float(r["valid_loss"])
    )
    finals = [r["arch"] for r in finished if r["phase"] == "final"]
    assert finals == [r["arch"] for r in longest][:2], "results of shorter trainings do not compare"
