"""A search gives the same, bit by bit, wherever its trials run and in whichever order they are told."""

from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.reporting.learning import learning_curves
from tests.cli.kills import fork_workers, outcome
from tests.cli.runs import SHORT

RANDOM = [
    *(word for word in SHORT if not word.startswith("strategy.")),
    *("strategy=random", "budget.trials=3", "budget.search_iterations=11", "budget.final_iterations=11"),
]
"""The proposals of random search depend on no result. Each training has two readings."""


def searched(directory: Path, *overrides: str) -> dict[str, Any]:
    """What a random search gives."""
    assert main(["search", *RANDOM, f"hydra.run.dir={directory}", *overrides]) == 0
    return ended(directory)


def ended(directory: Path) -> dict[str, Any]:
    """What a run gave, its trials in the order of their numbers, and how its networks learned."""
    told = outcome(directory)
    trials = [line for line in told.pop("journal") if line["event"] == "finished"]
    told["trials"] = sorted(trials, key=lambda line: (line["phase"], line["trial"]))
    return told | {"curves": learning_curves(directory / "learning.csv")}


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return searched(tmp_path_factory.mktemp("serial") / "run", "executor=serial")


@pytest.mark.parametrize(
    "override", ["executor.order=submission", "executor.order=completion", "executor.devices=[cpu:0,cpu:1]"]
)
def test_a_search_by_processes_is_that_of_one_trial_after_the_other(
    override: str, serial: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_workers(monkeypatch)
    assert searched(tmp_path / "run", "executor=process", override) == serial
    assert {phase for phase, *_ in serial["curves"]} == {"search", "final", "reference"}
    assert all(len(curve) == 2 for curve in serial["curves"].values())
