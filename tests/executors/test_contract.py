"""What every executor does, and what the one with worker processes does beside."""

import logging
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.errors import Interrupted, RunFailed, StorageError
from nasmeta.executors.base import Executor, Order, Rebuild
from nasmeta.executors.process import ProcessExecutor
from nasmeta.executors.serial import SerialExecutor
from nasmeta.training.meta_training import Reading
from nasmeta.trial import Job
from tests.cli import kills
from tests.executors import toy
from tests.executors.toy import job

READINGS: list[tuple[Job, Reading]] = []


def follow(job: Job, reading: Reading) -> None:
    READINGS.append((job, reading))


def process(
    workers: int = 1,
    rebuild: Rebuild = toy.rebuild,
    stop: Callable[[], bool] = lambda: False,
    order: Order = "submission",
    devices: list[str] | None = None,
    per_device: int = 1,
) -> ProcessExecutor:
    return ProcessExecutor(
        workers=workers,
        devices=devices,
        per_device=per_device,
        order=order,
        rebuild=rebuild,
        follow=follow,
        stop=stop,
    )


@pytest.fixture(autouse=True)
def _workers_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a server that has torch loaded; those of `pair` and `abandon` import it."""
    kills.fork_workers(monkeypatch)


@pytest.fixture(scope="module")
def serial() -> Executor:
    def run(job: Job) -> Any:
        return toy.judge(job, lambda reading: follow(job, reading), lambda: False)

    return SerialExecutor(run=run)


@pytest.fixture(scope="module")
def pair() -> Iterator[Executor]:
    """Two workers as a run starts them, which the tests share: they take a second or two to start."""
    with closing(process(workers=2)) as executor:
        yield executor


@pytest.fixture(params=["serial", "pair"])
def executor(request: pytest.FixtureRequest) -> Executor:
    executor: Executor = request.getfixturevalue(request.param)
    return executor


def test_results_come_in_the_order_of_the_jobs(executor: Executor) -> None:
    archs = ["slow", "quick", "quick", "slow", "quick"]
    told = toy.collected(executor, archs)
    assert [(result.trial, result.arch) for result in told] == list(enumerate(archs))


def test_results_come_as_they_end_by_completion() -> None:
    with closing(process(workers=2, order="completion")) as executor:
        toy.collected(executor, ["says", "says"])  # both are ready
        told = toy.collected(executor, ["slow", "quick", "quick"])
    assert [result.trial for result in told] == [1, 2, 0]


@pytest.mark.filterwarnings("ignore:as torch would warn")
def test_readings_and_log_lines_arrive(executor: Executor, caplog: pytest.LogCaptureFixture) -> None:
    READINGS.clear()
    executor.submit(job(7, "says"))
    assert executor.collect()[1].status == "ok"
    assert [(job.trial, reading) for job, reading in READINGS] == [(7, Reading(5, 0.5, None))]
    said = [(r.levelno, r.getMessage()) for r in caplog.records if r.name == "nasmeta.toy"]
    assert said == [(logging.WARNING, "trial 7 is odd")]


def test_workers_are_processes_of_their_own_and_stay(
    pair: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    def pids() -> set[float | None]:
        for trial in range(2):
            pair.submit(job(trial, "says"))
        return {pair.collect()[1].proxy for _ in range(2)}

    first = pids()
    assert len(first | {os.getpid()}) == 3
    assert pids() == first
    assert "as torch would warn" in caplog.text, "and not past the bars, onto the terminal"


def test_a_killed_worker_fails_its_trial_and_no_other(pair: Executor) -> None:
    pair.submit(job(0, "slow"))
    pair.submit(job(1, "is killed"))
    assert pair.collect()[1].status == "ok"
    _, failed = pair.collect()
    assert (failed.trial, failed.status, failed.score) == (1, "failed", None)
    assert failed.reason == (
        "its worker process was killed by SIGKILL; if memory is short, use fewer executor.workers"
    )
    pair.submit(job(2, "quick"))
    pair.submit(job(3, "quick"))
    assert [pair.collect()[1].status for _ in range(2)] == ["ok", "ok"]


def test_the_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in [(1, 1), (7, 3)]:
        monkeypatch.setattr(torch, "get_num_threads", lambda cores=cores: cores)
        assert process(workers=2)._threads == threads
    with closing(process(workers=2)) as executor:
        executor.submit(job(0, "quick"))
        assert executor.collect()[1].params == 3


def test_every_worker_has_a_device_and_a_new_one_that_of_a_dead_one() -> None:
    assert process(devices=["cpu:0", "cpu:1"], per_device=3).capacity == 6
    with closing(process(workers=7, rebuild=toy.rebuild_on, devices=["cpu:0", "cpu:1"])) as executor:
        told = toy.collected(executor, ["slow", "slow", "is killed", "slow", "slow", "slow"])
    devices = [result.reason for result in told if result.status == "ok"]
    assert executor.capacity == 2
    assert devices[:2] == ["cpu:0", "cpu:1"]
    assert set(devices[-2:]) == {"cpu:0", "cpu:1"}


@pytest.mark.parametrize(
    "arch,error,message",
    [
        ("finds the disk full", StorageError, "^w.pt: cannot be written$"),
        ("has a bug", RunFailed, "^a worker process failed: TypeError: no such thing$"),
    ],
)
def test_what_ends_a_run_ends_it_from_a_worker_too(
    arch: str, error: type[Exception], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(process()) as executor:
        executor.submit(job(0, arch))
        with pytest.raises(error, match=message):
            executor.collect()
    assert ("in judge" in caplog.text) == (error is RunFailed), "the traceback of what nobody expected"


@pytest.mark.parametrize(
    "rebuild,message",
    [
        (toy.rebuild_badly, "a worker process failed: ValueError: the data is gone"),
        (toy.rebuild_and_die, "a worker process ended with exit code 3 before its first trial"),
    ],
)
def test_a_worker_that_cannot_begin_ends_the_run(rebuild: Rebuild, message: str) -> None:
    with closing(process(rebuild=rebuild)) as executor:
        executor.submit(job(0, "quick"))
        with pytest.raises(RunFailed, match=re.escape(message)):
            executor.collect()


def test_stopped_all_jobs_are_saved_and_no_result_is_handed_out(tmp_path: Path) -> None:
    stopping: list[bool] = []
    with closing(process(workers=2, stop=lambda: bool(stopping))) as executor:
        for trial, arch in enumerate(["quick", "endless"]):
            executor.submit(job(trial, "says"))
            executor.collect()  # the worker is ready
            executor.submit(job(trial, arch, tmp_path))
        time.sleep(0.2)
        stopping.append(True)
        with pytest.raises(Interrupted, match="stopped with 2 "):
            executor.collect()
        assert (tmp_path / "1.pt").read_text() == "saved"


def test_closed_in_the_middle_nothing_goes_on(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    executor = process()
    executor.submit(job(0, "endless", tmp_path))
    assert set(multiprocessing.active_children()) != before
    executor.close()
    executor.close()
    assert set(multiprocessing.active_children()) == before
    assert not [path for path in tmp_path.iterdir() if path.read_text() == "saved"]


def abandon(folder: Path, starting: bool) -> None:
    """Is killed with a worker that has nothing to say to it: still `starting`, or at its job."""
    executor = process(rebuild=toy.SlowToStart(folder / "0.pt") if starting else toy.rebuild)
    executor.submit(job(0, "endless", folder))
    while not (folder / "0.pt").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("starting", [True, False])
def test_a_run_that_is_killed_leaves_no_worker_behind(tmp_path: Path, starting: bool) -> None:
    run = kills.FORK.Process(target=abandon, args=(tmp_path, starting))
    run.start()
    run.join(60)
    code = run.exitcode
    run.kill()
    assert code == -signal.SIGKILL
    worker = Path("/proc", (tmp_path / "0.pt").read_text(), "stat")
    deadline = time.monotonic() + 5
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(worker)


def is_running(process: Path) -> bool:
    """Whether the process of a /proc/PID/stat is there, and no zombie that waits to be forgotten."""
    try:
        return process.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
