"""Signals: the first asks the run to save and stop, a second SIGINT stops at once; neither harms a file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nasmeta.signals import interruptible
from tests.cli.runs import TINY


@pytest.fixture
def running(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A run of many short trials, of which some are over."""
    directory = tmp_path / "run"
    arguments = [*TINY, "budget.trials=400", "strategy.population=20", f"hydra.run.dir={directory}"]
    command = [sys.executable, "-m", "nasmeta", "search", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = directory / "journal.jsonl"
    deadline = time.monotonic() + 100
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 20) and time.monotonic() < deadline:
        time.sleep(0.02)
    yield process
    process.kill()
    process.communicate()


def test_the_preemption_signal_of_slurm(running: "subprocess.Popen[str]", tmp_path: Path) -> None:
    running.send_signal(signal.SIGUSR1)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert f"go on with: nasmeta resume {tmp_path / 'run'}" in err


def test_a_second_interrupt_stops_at_once_and_harms_nothing(
    running: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert "nasmeta: \n" not in err
    for path in (tmp_path / "run").rglob("*.pt"):
        torch.load(path, weights_only=True)


def test_each_signal_asks_and_the_second_interrupt_raises() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        with interruptible() as stop:
            assert not stop()
            os.kill(os.getpid(), number)
            assert stop()
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """A second SIGINT that strikes while a checkpoint is replaced: the old one is whole."""
    from nasmeta import checkpoint

    checkpoint.save(tmp_path / "w.pt", {"iteration": 1})

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path / "w.pt", {"iteration": 2})
    assert checkpoint.load(tmp_path / "w.pt") == {"iteration": 1}
    checkpoint.forget(tmp_path / "w.pt")
    assert not list(tmp_path.iterdir()), "nor is anything left behind"
