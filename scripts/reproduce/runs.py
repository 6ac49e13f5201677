"""Runs of nasmeta that are made once, several at a time.

A run that is done is read, one that was interrupted is resumed, the others are begun. So every script can be
killed at any time and started again.
"""

import glob
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

import numpy as np
import torch

from nasmeta.errors import ConfigError, NasmetaError, RunDirectoryError, RunFailed
from nasmeta.reporting.learning import learning_curves
from nasmeta.run import journal, records
from nasmeta.run.directory import RunDirectory, read_config
from nasmeta.run.per_task import PerTask
from nasmeta.run.summary import read_summary
from nasmeta.runtime import files

T = TypeVar("T")

composing = Lock()
"""Hydra composes one configuration at a time in a process."""

_children: set[subprocess.Popen[bytes]] = set()
_stopping = Event()


@dataclass(frozen=True)
class Run:
    """One run of nasmeta: its words, without the program and the directory, and its directory."""

    command: tuple[str, ...]
    directory: Path

    @property
    def _made(self) -> Path:
        return self._beside("json")

    @property
    def summary(self) -> dict[str, Any]:
        return read_summary(self.directory / "summary.json", None)

    @property
    def config(self) -> dict[str, Any]:
        return read_config(self.directory / "config.json")

    @property
    def circumstances(self) -> dict[str, Any]:
        """Command, day and hardware of the run's first start."""
        found: dict[str, Any] = json.loads(self._made.read_text(encoding="utf-8"))
        return found

    def make(self, threads: int) -> "Run":
        """Makes the run, or what is left of it.

        Raises RunFailed, ConfigError for wrong settings, or RunDirectoryError if other settings made it.
        """
        known = self._made.exists() and self.circumstances["command"] == list(self.command)
        if not known and self.directory.exists():
            raise RunDirectoryError(f"{self.directory}: was made by other settings; name another --out")
        if not known:
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            for stale in self.directory.parent.glob(f"{glob.escape(self.directory.name)}.*"):
                stale.unlink()  # what was computed from a run with other settings
            facts = json.dumps({"command": self.command, "day": time.strftime("%Y-%m-%d"), **hardware()})
            files.write_atomically(self._made, facts.encode())
        lock = self.directory / "run.lock"
        if lock.exists():
            with files.locked(lock, "run", wait=True):  # a process of a killed script may still work
                pass
        if not (self.directory / "summary.json").exists():
            begun = any((self.directory / name).exists() for name in ("config.json", "journal.jsonl"))
            place = f"hydra.run.dir={self.directory}"
            try:
                self._run(["resume", str(self.directory)] if begun else [*self.command, place], threads)
            except NasmetaError:
                if begun or not lock.exists():
                    raise
                self.make(threads)  # a process of a killed script was still loading, and has begun it now
        return self

    def _run(self, words: list[str], threads: int) -> bytes:
        """What a command of nasmeta prints to its standard output.

        Raises RunFailed with its last error, or ConfigError if that is the user's.
        """
        print(
            f"{time.strftime('%H:%M:%S')} nasmeta {words[0]}: {self.directory}", file=sys.stderr, flush=True
        )
        if _stopping.is_set():
            raise RunFailed(f"{self.directory}: not begun")
        log = self._beside("log")
        with log.open("ab") as errors:
            child = subprocess.Popen(
                [sys.executable, "-m", "nasmeta", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={"OMP_NUM_THREADS": str(threads), **os.environ},
                start_new_session=True,  # so that Ctrl-C reaches this process alone, which passes it on
            )
            _children.add(child)
            if _stopping.is_set():  # since the look above
                child.terminate()
            printed, _ = child.communicate()
            _children.remove(child)
        if child.returncode != 0:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
            kind = ConfigError if child.returncode == ConfigError.exit_code else RunFailed
            raise kind(f"{self.directory}: nasmeta {words[0]} ended with {child.returncode}: {lines[-1]}")
        return printed

    def _beside(self, suffix: str) -> Path:
        """A file of this script next to the run's directory."""
        return self.directory.with_name(f"{self.directory.name}.{suffix}")

    def evaluated(self, *words: str, threads: int) -> dict[str, Any]:
        """The answer of `nasmeta evaluate RUN --json` with more words, asked once."""
        stored = self._beside("evaluated.json")
        if not stored.exists():
            answer = self._run(["evaluate", str(self.directory), "--json", *words], threads)
            files.write_atomically(stored, answer)
        found: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8"))
        return found

    def iterations(self) -> int:
        """The meta-iterations that the search phase spent."""
        events = journal.events(self.directory / "journal.jsonl")
        asked = {event.trial: event for event in events if isinstance(event, records.Asked)}
        continued = [asked[event.continues] for event in asked.values() if event.continues is not None]
        return sum(each.iterations for each in asked.values()) - sum(each.iterations for each in continued)

    def judged(self) -> dict[int, float]:
        """Validation accuracies of the reference's iterates by meta-iteration; none without keep=best."""
        curves = learning_curves(RunDirectory(self.directory).learning)
        return {
            at: accuracy or 0.0 for at, (_, accuracy) in curves.get(("reference", 0, "judged"), {}).items()
        }

    def _tested(self) -> PerTask:
        """The accuracies on each meta-test task, of best.pt and of the reference."""
        path = RunDirectory(self.directory).per_task
        found = PerTask.load(path)
        if found is None:
            raise RunFailed(f"{path}: is missing or damaged")
        return found

    def per_task(self) -> np.ndarray:
        """The accuracy of best.pt on each of its meta-test tasks."""
        return self._tested().best

    def per_task_of_reference(self) -> np.ndarray:
        """The accuracy of the reference on each of them. Raises RunFailed if it was not tested."""
        found = self._tested().reference
        if found is None:
            raise RunFailed(f"{self.directory}: the reference was not tested")
        return found


def hardware() -> dict[str, Any]:
    """The names of processor and GPU, and how many cores there are."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(), "gpu": gpu}


def in_parallel(units: Sequence[Callable[[], T]], jobs: int, done: Callable[[list[T]], None]) -> int:
    """Calls all units, `jobs` at a time. After each, `done` is told of all results so far, in order.

    If one fails, the reason is printed, once if it is the same for several, and the others go on. Returns the
    exit code: 0, or the highest of the failures'.
    """
    failures: dict[str, int] = {}
    results: dict[int, T] = {}
    pool = ThreadPoolExecutor(jobs)
    numbers = {pool.submit(unit): number for number, unit in enumerate(units)}
    try:
        for future in as_completed(numbers):
            try:
                results[numbers[future]] = future.result()
            except NasmetaError as error:
                if str(error) not in failures:
                    print(error, file=sys.stderr, flush=True)
                failures[str(error)] = error.exit_code
            else:
                done([results[number] for number in sorted(results)])
    except BaseException:
        _stopping.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for child in list(_children):
            child.terminate()  # it saves, and ends
        raise
    finally:
        pool.shutdown()
    return max(failures.values(), default=0)


def command(main: Callable[[], int]) -> int:
    """Runs an experiment and returns its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main()
    except NasmetaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        return 130
