"""Runs by `executor=process`: killed and resumed they end as if never interrupted, and so again and again."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.cli.main import main
from tests.cli.kills import Started, fork_workers, outcome, spawn, started
from tests.cli.runs import SAVED
from tests.cli.test_resume_fidelity import BASE
from tests.cli.test_resume_fidelity import RUNS as FIDELITY

RUNS = {"hyperband": [*BASE, *FIDELITY["hyperband"]]}  # it waits for results, and goes on from weights files


def arguments(name: str, directory: Path) -> list[str]:
    return ["search", *RUNS[name], "executor=process", f"hydra.run.dir={directory}"]


@pytest.fixture(scope="module", params=RUNS)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def run_here(command: list[str]) -> int:
    """The exit code of a command in this process; its workers are forked from a server with torch loaded."""
    with pytest.MonkeyPatch.context() as patch:
        fork_workers(patch)
        return main(command)


@pytest.fixture(scope="module")
def unbroken(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp(name) / "run"
    assert run_here(arguments(name, directory)) == 0
    return directory


def test_killed_once(name: str, unbroken: Path, tmp_path: Path) -> None:
    """With two trials in flight, of which the younger may have ended."""
    directory = tmp_path / "run"
    assert spawn(arguments(name, directory), kill_at=9) == -signal.SIGKILL
    assert len(in_flight(directory)) == 2
    assert run_here(["resume", str(directory)]) == 0
    assert outcome(directory) == outcome(unbroken)
    assert not list((directory / "checkpoints").glob("search-*"))


def records(directory: Path, event: str) -> list[dict[str, Any]]:
    lines = (directory / "journal.jsonl").read_text().splitlines()
    return [record for line in lines if (record := json.loads(line))["event"] == event]


def in_flight(directory: Path) -> set[int]:
    asked, finished = ({r["trial"] for r in records(directory, e)} for e in ("asked", "finished"))
    return asked - finished


def test_a_trial_gives_the_same_wherever_it_runs(tmp_path: Path) -> None:
    """By the strategy that learns nothing; from one executor to the other in the middle, too."""

    def arguments(executor: str) -> list[str]:
        directory = f"hydra.run.dir={tmp_path / executor}"
        return ["search", *BASE, "strategy=random", f"executor={executor}", directory]

    def ended(executor: str) -> dict[str, Any]:
        result = outcome(tmp_path / executor)
        result["journal"] = [r for r in result["journal"] if r["event"] != "asked"]
        return result

    assert spawn(arguments("serial")) == 0
    assert spawn(arguments("process"), kill_at=17) == -signal.SIGKILL
    phases = [r["phase"] for r in records(tmp_path / "process", "finished")]
    assert phases[:5] == ["search"] * 4 + ["reference"], "trained by workers"
    assert len(phases) < 7, "and a final one is left"
    assert spawn(["resume", str(tmp_path / "process"), "executor=serial"]) == 0
    assert ended("process") == ended("serial")
    assert len(records(tmp_path / "process", "finished")) == 7


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Started]:
    """A run of long trials, of which two have begun and are saved."""
    directory = tmp_path / "run"
    run = [*SAVED, "executor=process", "budget.search_iterations=100000", f"hydra.run.dir={directory}"]
    with started(["search", *run], tmp_path) as process:
        assert _soon(lambda: len(list(directory.glob("checkpoints/search-*.pt"))) == 2)
        yield process


def _soon(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def processes(group: int) -> list[int]:
    """The processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields: list[Any] = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_an_interrupt_from_the_terminal_saves_all_trials(running: Started, tmp_path: Path) -> None:
    """Ctrl-C reaches the workers too."""
    assert len(processes(running.pid)) >= 3
    os.killpg(running.pid, signal.SIGINT)
    code, out, err = running.ended()
    assert code == 130, err
    assert err.splitlines()[-1].endswith(f"; resume with: nasmeta resume {tmp_path / 'run'}")
    assert "Traceback" not in err
    assert not out
    for trial in range(2):
        saved = torch.load(tmp_path / "run" / "checkpoints" / f"search-0000{trial}.pt", weights_only=True)
        assert 0 < saved["training"]["iteration"] < 100000
    assert _soon(lambda: not processes(running.pid), 5)
