"""Several trials at once, each in a worker process of this machine.

Choose it if one trial does not fill the machine: it has many cores, or a GPU that small networks leave idle.
The workers share the cores. Each has its own copy of the data, on the device too. A trial gives the same
result as in the run's own process with the same number of threads.

With order=submission, results come back in the order in which trials were submitted. For the same number of
workers, a run is therefore the same every time, however long trials take and whenever it is killed and
resumed. The price is that a worker that is done waits for older trials: 8 workers with trials of 1, 3 and 9
units are busy for less than half of the time. With order=completion, they never wait, and what a strategy
proposes next depends on the machine.

With several workers, a strategy is asked before it is told the results of the trials in flight. A strategy
that learns from results therefore proposes other architectures than with executor=serial.

Workers ignore signals; they save and stop when the run does. If the run is killed they end within a second,
even if they are just starting. If a worker is killed, its trial fails, and the next trial gets a new worker.
"""

import logging
import multiprocessing
import pickle
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Annotated, NoReturn

import torch
from pydantic import Field

from nasmeta.errors import Interrupted, NasmetaError, RunFailed
from nasmeta.executors.base import Executor, Follow, Order, Rebuild, lost
from nasmeta.executors.worker import READY, serve
from nasmeta.runtime.import_path import leave_out_current_folder
from nasmeta.runtime.signals import SIGNALS
from nasmeta.training.meta_training import Reading
from nasmeta.training.score import Stop
from nasmeta.trial import Job, TrialResult

POLL_SECONDS = 0.1
"""Seconds between two checks of whether to stop, while no worker sends anything."""

CONTEXT = multiprocessing.get_context("spawn")  # a fork copies the locks of torch's threads and breaks CUDA


class ProcessExecutor(Executor):
    """Runs up to `workers` trials at once in processes, which are started when there is a job for them.

    devices: what they compute on, `per_device` workers on each, whatever `workers` is; None: all on the run's
    own device. They must be of one kind, or trials give different results. order: see the module. rebuild,
    follow, stop: see Executor.
    """

    separate = True

    def __init__(
        self,
        *,
        workers: Annotated[int, Field(ge=1, le=1024)],
        devices: Annotated[list[str], Field(min_length=1)] | None,
        per_device: Annotated[int, Field(ge=1, le=1024)],
        order: Order,
        rebuild: Rebuild,
        follow: Follow,
        stop: Stop,
    ) -> None:
        self.workers = len(devices) * per_device if devices else workers
        self._order = order
        self._devices: Sequence[str | None] = devices or [None]
        self._rebuild, self._follow, self._stop = rebuild, follow, stop
        self._threads = max(1, torch.get_num_threads() // self.workers)
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        """In the order in which their jobs were submitted."""

    @property
    def capacity(self) -> int:
        return self.workers

    def submit(self, job: Job) -> None:
        worker = next((worker for worker in self._idle if worker.process.is_alive()), None)
        if worker is None:
            worker = _Worker(self._rebuild, self._threads, self._free_device())
        else:
            self._idle.remove(worker)
        self._busy.append(worker)
        worker.begin(job)

    def collect(self) -> tuple[Job, TrialResult]:
        awaited = self._busy if self._order == "completion" else [self._busy[0]]
        while not self._stop():
            worker = next((worker for worker in awaited if worker.answer is not None), None)
            if worker is None:
                self._receive()
            elif isinstance(worker.answer, Interrupted):
                raise worker.answer
            else:
                self._busy.remove(worker)
                self._idle.append(worker)
                assert worker.answer is not None
                return worker.job, worker.answer
        self._halt()

    def close(self) -> None:
        workers = [*self._idle, *self._busy]
        for worker in workers:  # kill all before waiting for any: a signal may interrupt the waiting
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.connection.close()
        self._idle.clear()
        self._busy.clear()

    def _free_device(self) -> str | None:
        """The device with the fewest workers; the first of equal ones."""
        taken = [worker.device for worker in [*self._idle, *self._busy] if worker.process.is_alive()]
        return min(self._devices, key=taken.count)

    def _halt(self) -> NoReturn:
        """Makes every worker save its job, then raises Interrupted."""
        for worker in self._busy:
            worker.ask_to_stop()
        while any(worker.answer is None for worker in self._busy):
            self._receive()
        raise Interrupted(f"stopped with {len(self._busy)} of its trials in progress")

    def _receive(self) -> None:
        """Takes one message from every worker that has sent one; waits up to POLL_SECONDS for the first."""
        waiting = {worker.connection: worker for worker in self._busy if worker.answer is None}
        for connection in wait(list(waiting), timeout=POLL_SECONDS):
            self._take(waiting[connection])  # type: ignore[index]

    def _take(self, worker: "_Worker") -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            worker.answer = worker.died()
            return
        match message:
            case Reading():
                self._follow(worker.job, message)
            case logging.LogRecord():
                logger = logging.getLogger(message.name)
                if logger.isEnabledFor(message.levelno):
                    logger.handle(message)
            case TrialResult() | Interrupted():
                worker.answer = message
            case NasmetaError():
                raise message
            case _:
                assert message == READY
                worker.ready = True


class _Worker:
    """The run's handle of a worker process and of its latest job.

    rebuild: makes what judges trials, in the worker; threads: how many the worker computes with; device: the
    one that it computes on, if not the run's own.
    """

    job: Job

    def __init__(self, rebuild: Rebuild, threads: int, device: str | None) -> None:
        self.device = device
        rebuild = rebuild if device is None else partial(rebuild, device=device)
        self.ready = False
        """Whether the worker has built what judges trials."""
        self.answer: TrialResult | Interrupted | None = None
        """How the job ended; None while it runs."""
        self.connection, theirs = CONTEXT.Pipe()
        leave_out_current_folder()
        self.process = CONTEXT.Process(target=serve, args=(theirs, pickle.dumps(rebuild), threads))
        with _signals_held_back():
            self.process.start()
        theirs.close()

    def begin(self, job: Job) -> None:
        self.job, self.answer, self._began = job, None, time.monotonic()
        self._send(job)

    def ask_to_stop(self) -> None:
        """Asks the worker to save its job and answer. If it has not begun yet, there is nothing to save."""
        if self.ready:
            self._send(None)
        else:
            self.answer = Interrupted("stopped before its worker was ready")

    def died(self) -> TrialResult:
        """The failed result of the job of a worker that died; raises RunFailed if it was never ready."""
        self.process.join()
        how = _how_it_ended(self.process.exitcode)
        if not self.ready:
            raise RunFailed(f"a worker process {how} before its first trial; is there memory for so many?")
        return lost(self.job, f"its worker process {how}", time.monotonic() - self._began)

    def _send(self, message: Job | None) -> None:
        with suppress(OSError):  # the worker has died; the next receive notices that
            self.connection.send(message)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Blocks signals inside the block. A process started there keeps them blocked until it ignores them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # if it started later by itself, it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how_it_ended(exitcode: int | None) -> str:
    """How a process ended, for a sentence about it."""
    if exitcode is None or exitcode >= 0:
        return f"ended with exit code {exitcode}"
    try:
        return f"was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"was killed by signal {-exitcode}"
