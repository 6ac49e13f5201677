"""Real SIGKILLs of a process forked from a server that has torch loaded already, and what a run ends with.

Where a kill strikes is counted in writes: before, in the middle of, and after every line of the journal and
every checkpoint.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.cli.main import main
from nasmeta.executors import process
from nasmeta.run.journal import Journal

FORK = multiprocessing.get_context("forkserver")
# What every command imports sooner or later; torch imports the compiler with the first optimizer.
FORK.set_forkserver_preload(
    [
        *("tests.cli.kills", "nasmeta.run.search", "nasmeta.reporting.tables.closing", "nasmeta.cli.search"),
        *("nasmeta.reporting.pages.report", "matplotlib.font_manager", "matplotlib.backends.backend_svg"),
        *("nasmeta.trained.classifier", "nasmeta.trained.meta_test", "nasmeta.trained.prediction"),
        *("nasmeta.cli.run", "torch._dynamo", "torch.utils.serialization", "tests.cli.composed"),
    ]
)


def fork_workers(patch: pytest.MonkeyPatch) -> None:
    """Makes executor=process fork its workers from the server."""
    forkserver.ensure_running()  # while a worker starts, signals are blocked, and would stay so in the server
    patch.setattr(process, "CONTEXT", FORK)


def run_until_killed(arguments: list[str], kill_at: int, torn: bool) -> None:
    """Runs a command and kills its own process at the `kill_at`-th write (journal lines and files alike)."""
    from nasmeta.run import journal
    from nasmeta.runtime import files

    torch.set_num_threads(1)
    # As in a process of its own: what drew from torch's global generator would differ, not agree by the fork.
    torch.seed()
    writes = 0
    append, replace = journal.Journal.append, files.write_atomically

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

    def counted_replace(path: Path, data: bytes, previous: Path | None = None, **where: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == kill_at:
            if torn:
                path.with_name(f".nasmeta-{kill_at:016x}.tmp").write_bytes(data[: len(data) // 2])
            die()
        replace(path, data, previous, **where)

    journal.Journal.append = counted_append  # type: ignore[method-assign]
    files.write_atomically = counted_replace
    sys.exit(main(arguments))


def spawn(arguments: list[str], kill_at: int = 0, torn: bool = False) -> int:
    """The exit code of a command in a process of its own; -9 where it was killed."""
    process = FORK.Process(target=run_until_killed, args=(arguments, kill_at, torn))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the command hangs"
    return process.exitcode


class Started:
    """A command that runs in a process group of its own; `out` and `err` are files with what it prints."""

    def __init__(self, arguments: list[str], out: Path, err: Path) -> None:
        self.out, self.err = out, err
        self.process = FORK.Process(target=_apart, args=(arguments, out, err))
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def ended(self) -> tuple[int | None, str, str]:
        """Its exit code, and what it printed, once it has ended."""
        self.process.join(60)
        return self.process.exitcode, self.out.read_text(), self.err.read_text()


def _apart(arguments: list[str], out: Path, err: Path) -> None:
    os.setsid()
    for number, path in enumerate((out, err), 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    run_until_killed(arguments, 0, False)


@contextmanager
def started(arguments: list[str], folder: Path) -> Iterator[Started]:
    """Starts a command that prints into `folder`, and kills what is left of it at the end of the block."""
    command = Started(arguments, folder / "out", folder / "err")
    try:
        yield command
    finally:
        command.process.kill()
        command.process.join()


def outcome(directory: Path) -> dict[str, Any]:
    """What a run promises: the journal without times and resumptions, the tensors if any, the summary."""
    timed = {"seconds", "train_seconds", "elapsed", "wall_seconds", "command", "checksum"}

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(inner) for key, inner in value.items() if key not in timed}
        return value

    with Journal(directory / "journal.jsonl") as journal:
        records = [timeless(r) for r in journal.records if "config" not in r]
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


def kill_again_and_again(arguments: list[str], directory: Path, kill_at: int) -> int:
    """Kills a run, and every resumption, at its `kill_at`-th write until it ends; the number of kills."""
    command, kills = arguments, 0
    while spawn(command, kill_at, torn=kills % 2 == 1) == -signal.SIGKILL:
        command, kills = ["resume", str(directory)], kills + 1
        assert kills < 100, "the run makes no progress"
    return kills
