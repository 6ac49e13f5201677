"""A run killed with SIGKILL and resumed ends like one that was never interrupted, bit by bit.

Each kill is a real one, of a process forked from a server that has torch loaded already. Where it strikes
is counted in writes: before, in the middle of, and after every line of the journal and every checkpoint.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.cli import main
from nasmeta.journal import Journal
from tests.cli.runs import TINY, search

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.cli.test_resume", "nasmeta.search", "nasmeta.reporting.table"])


def run_until_killed(arguments: list[str], kill_at: int, torn: bool) -> None:
    """Runs a command and kills its own process at the `kill_at`-th write (journal lines and files alike)."""
    from nasmeta import checkpoint, journal

    torch.set_num_threads(1)
    writes = 0
    append, replace = journal.Journal.append, checkpoint.write_atomically

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted_append(self: Journal, event: str, **values: Any) -> Any:
        nonlocal writes
        writes += 1
        if writes == kill_at:
            if torn:
                line = journal._line({"v": 1, "event": event, **values})
                self._file.write(line[: len(line) // 2])
                self._file.flush()
            die()
        return append(self, event, **values)

    def counted_replace(path: Path, data: bytes, previous: Path | None = None) -> None:
        nonlocal writes
        writes += 1
        if writes == kill_at:
            if torn:
                path.with_name(f".{path.name}.tmp").write_bytes(data[: len(data) // 2])
            die()
        replace(path, data, previous)

    journal.Journal.append = counted_append  # type: ignore[method-assign]
    checkpoint.write_atomically = counted_replace
    sys.exit(main(arguments))


def spawn(arguments: list[str], kill_at: int = 0, torn: bool = False) -> int:
    """The exit code of a command in a process of its own; -9 where it was killed."""
    process = FORK.Process(target=run_until_killed, args=(arguments, kill_at, torn))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the command hangs"
    return process.exitcode


def outcome(directory: Path) -> dict[str, Any]:
    """What a run promises: the journal without times and resumptions, the tensors if any, the summary."""
    timed = {"seconds", "train_seconds", "elapsed", "wall_seconds", "command", "checksum"}

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(inner) for key, inner in value.items() if key not in timed}
        return value

    with Journal(directory / "journal.jsonl") as journal:
        records = [timeless(r) for r in journal.records if r["event"] not in ("started", "resumed")]
    told = {"journal": records, "summary": timeless(json.loads((directory / "summary.json").read_text()))}
    if not (directory / "best.pt").exists():
        return told
    best = torch.load(directory / "best.pt", weights_only=True)
    return {
        **told,
        "arch": best["arch"],
        "tensors": {name: value.numpy().tobytes() for name, value in best["parameters"].items()},
        "statistics": {name: value.numpy().tobytes() for name, value in best["statistics"].items()},
    }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "run"
    assert spawn(["search", *TINY, f"hydra.run.dir={directory}"]) == 0
    return directory


def test_two_unbroken_runs_are_the_same(unbroken: Path, tmp_path: Path) -> None:
    assert spawn(["search", *TINY, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    assert outcome(tmp_path / "run") == outcome(unbroken)


def test_another_seed_is_another_run(unbroken: Path, tmp_path: Path) -> None:
    assert spawn(["search", *TINY, f"hydra.run.dir={tmp_path / 'run'}", "seed=1"]) == 0
    assert outcome(tmp_path / "run") != outcome(unbroken)


@pytest.mark.parametrize("torn", [False, True], ids=["between", "torn"])
@pytest.mark.parametrize("kill_at", [1, 4, 9, 17, 38, 46])
def test_killed_once(unbroken: Path, tmp_path: Path, kill_at: int, torn: bool) -> None:
    directory = tmp_path / "run"
    assert spawn(["search", *TINY, f"hydra.run.dir={directory}"], kill_at, torn) == -signal.SIGKILL
    assert spawn(["resume", str(directory)]) == 0
    assert outcome(directory) == outcome(unbroken)


def test_killed_again_and_again(unbroken: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    command, kills = ["search", *TINY, f"hydra.run.dir={directory}"], 0
    while spawn(command, kill_at=5, torn=kills % 2 == 1) == -signal.SIGKILL:
        command, kills = ["resume", str(directory)], kills + 1
        assert kills < 100, "the run makes no progress"
    assert kills >= 5
    assert outcome(directory) == outcome(unbroken)


def test_resuming_a_finished_run_changes_nothing(unbroken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [unbroken / "best.pt", unbroken / "summary.json"]
    before = outcome(unbroken), [path.read_bytes() for path in files]
    assert main(["resume", str(unbroken)]) == 0
    assert before == (outcome(unbroken), [path.read_bytes() for path in files])
    assert "searched" in capsys.readouterr().out


def test_another_process_reproduces_the_summary_exactly(
    unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(unbroken / "best.pt"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    best = json.loads((unbroken / "summary.json").read_text())["best"]
    assert (result["loss"], result["ci95"]) == (best["test_loss"], best["test_ci95"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_saves_and_says_how_to_go_on(unbroken: Path, tmp_path: Path, number: int) -> None:
    directory = tmp_path / "run"
    arguments = [*TINY, "budget.search_iterations=100000", f"hydra.run.dir={directory}"]
    command = [sys.executable, "-m", "nasmeta", "search", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(directory.glob("checkpoints/*.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert f"go on with: nasmeta resume {directory}" in err
    assert "Traceback" not in err
    assert not out
    saved = torch.load(next(directory.glob("checkpoints/*.pt")), weights_only=True)
    assert 0 < saved["training"]["iteration"] < 100000


def test_a_changed_strategy_is_noticed(tmp_path: Path) -> None:
    """A journal that the code does not reproduce is refused, rather than mixed with another search."""
    directory = tmp_path / "run"
    assert spawn(["search", *TINY, f"hydra.run.dir={directory}"], 20) == -signal.SIGKILL
    config = directory / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 5"))
    assert spawn(["resume", str(directory)]) == 2


def test_a_run_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nasmeta.rundir import RunDirectory

    directory = tmp_path / "run"
    assert search(directory) == 0
    with RunDirectory(directory).lock():
        assert spawn(["resume", str(directory)]) == 2
    assert main(["resume", str(directory)]) == 0
