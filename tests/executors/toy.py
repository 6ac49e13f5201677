"""Jobs that train nothing: an architecture's name says what its judge does, in whichever process."""

import logging
import os
import signal
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nasmeta.errors import Interrupted, StorageError
from nasmeta.executors.base import Executor, Judge
from nasmeta.training.meta_training import Reading
from nasmeta.trial import Job, TrialResult


def job(trial: int, arch: str, folder: Path = Path("nowhere")) -> Job:
    return Job(
        phase="search", trial=trial, arch=arch, iterations=10, weights=folder / f"{trial}.pt", start=None
    )


def collected(executor: Executor, archs: list[str]) -> list[TrialResult]:
    """The results as they come, of jobs 0, 1, ... of which as many are in flight as the executor takes."""
    waiting, told = list(enumerate(archs)), list[TrialResult]()
    in_flight = 0
    while waiting or in_flight:
        while waiting and in_flight < executor.capacity:
            executor.submit(job(*waiting.pop(0)))
            in_flight += 1
        told.append(executor.collect()[1])
        in_flight -= 1
    return told


def judge(job: Job, report: Any, stop: Any) -> TrialResult:
    """Parameters are the threads of torch, the proxy is the process."""
    match job.arch:
        case "slow":
            time.sleep(0.3)
        case "says":
            report(Reading(5, 0.5, None))
            logging.getLogger("nasmeta.toy").warning("trial %d is odd", job.trial)
            logging.getLogger("nasmeta.toy").debug("and this is for nobody")
            warnings.warn("as torch would warn", stacklevel=1)
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "finds the disk full":
            raise StorageError("w.pt: cannot be written")
        case "has a bug":
            raise TypeError("no such\nthing")
        case "patient":
            report(Reading(5, 0.5, None))
            with job.weights.open("a") as file:
                file.write(f"{os.getpid()}\n")
            while not job.weights.with_name("go").exists():
                time.sleep(0.01)
        case "endless":
            job.weights.write_text(str(os.getpid()))
            while not stop():
                time.sleep(0.01)
            job.weights.write_text("saved")
            raise Interrupted("stopped at iteration 3 of 10")
    return TrialResult(
        trial=job.trial,
        arch=job.arch,
        iterations=job.iterations,
        status="ok",
        proxy=float(os.getpid()),
        params=torch.get_num_threads(),
        flops=1,
        train_seconds=0.0,
        seconds=0.0,
    )


def rebuild() -> Judge:
    return judge


def rebuild_on(device: str) -> Judge:
    """Results have the device as their reason."""
    return lambda job, report, stop: replace(judge(job, report, stop), reason=device)


def rebuild_badly() -> Judge:
    raise ValueError("the data is gone")


def rebuild_and_die() -> Judge:
    os._exit(3)


class SlowToStart:
    """A `rebuild` that takes a minute to load; the process that loads it writes its number into `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return _load_slowly, (self.path,)

    def __call__(self) -> Judge:
        return judge


def _load_slowly(path: Path) -> SlowToStart:
    path.write_text(str(os.getpid()))
    time.sleep(60)
    return SlowToStart(path)
