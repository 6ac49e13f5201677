"""A run killed with SIGKILL and resumed ends like one that was never interrupted, bit by bit."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock, Timeout

from nasmeta.cli.main import main
from nasmeta.errors import RunDirectoryError
from nasmeta.run.directory import RunDirectory
from nasmeta.runtime import files
from tests.cli.kills import kill_again_and_again, outcome, spawn, started
from tests.cli.runs import SAVED, search


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "run"
    assert spawn(["search", *SAVED, f"hydra.run.dir={directory}"]) == 0
    return directory


def test_two_unbroken_runs_are_the_same(unbroken: Path, tmp_path: Path) -> None:
    assert spawn(["search", *SAVED, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    assert outcome(tmp_path / "run") == outcome(unbroken)


def test_another_seed_is_another_run(unbroken: Path, tmp_path: Path) -> None:
    assert spawn(["search", *SAVED, f"hydra.run.dir={tmp_path / 'run'}", "seed=1"]) == 0
    assert outcome(tmp_path / "run") != outcome(unbroken)


@pytest.mark.parametrize(
    "kill_at,torn",
    [(2, False), (9, True), (17, True), (38, False), (46, True)],
)
def test_killed_once(unbroken: Path, tmp_path: Path, kill_at: int, torn: bool) -> None:
    directory = tmp_path / "run"
    assert spawn(["search", *SAVED, f"hydra.run.dir={directory}"], kill_at, torn) == -signal.SIGKILL
    assert spawn(["resume", str(directory)]) == 0
    assert outcome(directory) == outcome(unbroken)


def test_killed_before_there_is_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without its configuration, the first write, there is nothing to go on with or in the way."""
    directory = tmp_path / "run"
    command = ["search", *SAVED, f"hydra.run.dir={directory}"]
    assert spawn(command, 1) == -signal.SIGKILL
    assert main(["resume", str(directory)]) == 2
    assert f"{directory}" in capfd.readouterr().err
    assert spawn(command, 3) == -signal.SIGKILL, "it starts"


def test_what_is_typed_for_a_run_without_a_journal_becomes_its_own(unbroken: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    shutil.copy(unbroken / "config.json", copy)
    assert main(["resume", str(copy), "budget.trials=3"]) == 0
    assert json.loads((copy / "config.json").read_text())["budget"]["trials"] == 3
    assert main(["resume", str(copy)]) == 0


def test_killed_again_and_again(unbroken: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert kill_again_and_again(["search", *SAVED, f"hydra.run.dir={directory}"], directory, 11) >= 4
    assert outcome(directory) == outcome(unbroken)


def test_resuming_a_finished_run_changes_nothing(unbroken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [unbroken / "best.pt", unbroken / "summary.json"]
    before = outcome(unbroken), [path.read_bytes() for path in files]
    assert main(["resume", str(unbroken)]) == 0
    assert before == (outcome(unbroken), [path.read_bytes() for path in files])
    assert "test MSE" in capsys.readouterr().out


def test_a_run_killed_while_it_tidied_up_is_tidied_up_when_resumed(unbroken: Path) -> None:
    left = unbroken / "checkpoints" / "search-00001.pt"
    left.write_bytes(b"of a kill behind the last line of the journal")
    assert main(["resume", str(unbroken)]) == 0
    assert not left.exists()


def test_another_process_reproduces_the_summary_exactly(
    unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(unbroken / "best.pt"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    best = json.loads((unbroken / "summary.json").read_text())["best"]
    assert (result["loss"], result["ci95"]) == (best["test_loss"], best["test_ci95"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_saves_and_says_how_to_go_on(unbroken: Path, tmp_path: Path, number: int) -> None:
    directory = tmp_path / "run"
    arguments = [*SAVED, "budget.search_iterations=100000", f"hydra.run.dir={directory}"]
    deadline = time.monotonic() + 60
    with started(["search", *arguments], tmp_path) as run:
        while not list(directory.glob("checkpoints/*.pt")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(run.pid, number)
        code, out, err = run.ended()
    assert code == 130, err
    assert f"nasmeta resume {directory}" in err
    assert "Traceback" not in err
    assert not out
    saved = torch.load(next(directory.glob("checkpoints/*.pt")), weights_only=True)
    assert 0 < saved["training"]["iteration"] < 100000


def test_a_changed_strategy_is_noticed(tmp_path: Path) -> None:
    """A journal that the code does not reproduce is refused, rather than mixed with another search."""
    directory = tmp_path / "run"
    assert spawn(["search", *SAVED, f"hydra.run.dir={directory}"], 20) == -signal.SIGKILL
    config = directory / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 5'))
    assert spawn(["resume", str(directory)]) == 2


def test_a_run_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "run"
    assert search(directory) == 0
    with RunDirectory(directory).lock():
        assert spawn(["resume", str(directory)]) == 2
    assert main(["resume", str(directory)]) == 0


@pytest.mark.parametrize("what", ["run", "sweep"])
def test_a_lock_is_free_after_its_block(tmp_path: Path, what: str) -> None:
    path = tmp_path / f"{what}.lock"
    with files.locked(path, what):
        with pytest.raises(Timeout, match=path.name):
            FileLock(path).acquire(timeout=0)
        with pytest.raises(RunDirectoryError, match=rf"{path.parent}: .*{what}.*{path.name}"):
            files.locked(path, what).__enter__()
    FileLock(path).acquire(timeout=0).lock.release()
    with pytest.raises(ValueError, match="inside"), files.locked(path, what):
        raise ValueError("inside")
    FileLock(path).acquire(timeout=0).lock.release()
