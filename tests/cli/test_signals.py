"""Signals: the first asks the run to save and stop, a second SIGINT stops at once; neither harms a file."""

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from nasmeta.runtime.signals import interruptible
from tests.cli.kills import Started, started
from tests.cli.runs import SAVED


@pytest.fixture(autouse=True)
def not_under_nohup() -> Iterator[None]:
    """Heeds SIGHUP, which `nohup scripts/test` would ignore, here and in the processes that a test starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Started]:
    """A run of many short trials, of which some are over."""
    directory = tmp_path / "run"
    arguments = [*SAVED, "budget.trials=400", "strategy.population_size=20", f"hydra.run.dir={directory}"]
    journal = directory / "journal.jsonl"
    deadline = time.monotonic() + 100
    with started(["search", *arguments], tmp_path) as run:
        while (
            not (journal.exists() and journal.read_bytes().count(b"\n") > 8) and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        yield run


def test_the_preemption_signal_of_slurm(running: Started, tmp_path: Path) -> None:
    os.kill(running.pid, signal.SIGUSR1)
    code, _, err = running.ended()
    assert code == 130, err
    assert f"nasmeta resume {tmp_path / 'run'}" in err


def test_a_second_interrupt_stops_at_once_and_harms_nothing(running: Started, tmp_path: Path) -> None:
    os.kill(running.pid, signal.SIGINT)
    os.kill(running.pid, signal.SIGINT)
    code, _, err = running.ended()
    assert code == 130, err
    assert "Traceback" not in err
    assert "nasmeta: \n" not in err
    for path in (tmp_path / "run").rglob("*.pt"):
        torch.load(path, weights_only=True)


def test_each_signal_asks_and_the_second_interrupt_raises() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        with interruptible() as stop:
            assert not stop()
            os.kill(os.getpid(), number)
            assert stop()
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """A second SIGINT that strikes while a checkpoint is replaced: the old one is whole."""
    from nasmeta.training import checkpoint

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


def test_under_nohup_a_run_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_closed_stops_the_run_and_saves_it(tmp_path: Path) -> None:
    """The terminal refuses what is written from then on: the bars' last lines and the hint."""
    directory = tmp_path / "run"
    arguments = [*SAVED, "progress=true", "budget.search_iterations=100000", f"hydra.run.dir={directory}"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "nasmeta", "search", *arguments])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))  # else there are no bars
    os.set_blocking(terminal, False)
    deadline = time.monotonic() + 100
    while not list(directory.glob("checkpoints/*.pt")) and time.monotonic() < deadline:
        with suppress(OSError):
            os.read(terminal, 1 << 16)
        time.sleep(0.02)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    saved = torch.load(directory / "checkpoints" / "search-00000.pt", weights_only=True)
    assert 0 < saved["training"]["iteration"] < 100000
