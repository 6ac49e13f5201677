"""Several trials at once on a Ray cluster, each in an actor on one of its machines.

Choose it if one machine is too small. Every machine needs nasmeta with its extra `ray`, and a shared file
system with the run's directory under the same path. The data is put into Ray's object store once, from where
each machine fetches it. Without an `address` (or RAY_ADDRESS), a cluster of this machine alone is started,
which ends with the run.

For `order`, see executor=process. By submission, a run is the same every time for the same number of workers
on machines of one kind. Workers send their readings once a second, since a message for each would cost more
than it is worth. If a machine is taken away, its trials go on elsewhere from what they have saved. If an
actor dies alone (memory is short), its trial fails.
"""

import asyncio
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import inf
from typing import Annotated, Any, NoReturn

import torch
from pydantic import Field

from nasmeta.errors import ConfigError, Interrupted, NasmetaError, RunFailed
from nasmeta.executors.base import Executor, Follow, Order, Rebuild, lost
from nasmeta.runtime.allocator import keep_pages
from nasmeta.runtime.import_path import leave_out_current_folder, outside_current_folder
from nasmeta.runtime.stored import UsersOnly
from nasmeta.training.meta_training import Reading
from nasmeta.training.score import Stop
from nasmeta.trial import Job, TrialResult

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
"""Seconds between two checks of whether to stop."""

SEND_SECONDS = 1.0
"""Seconds between two messages of a worker about its trial."""

SAVING_SECONDS = 60.0
"""How long stopped trials may take to save, in seconds."""

Answer = TrialResult | Interrupted | NasmetaError
"""How a job ends in a worker."""

Address = Annotated[
    str | None,
    UsersOnly("Ray connects to it", harmless=lambda address: address in (None, "auto", "local")),
]


class RayExecutor(Executor):
    """Runs up to `workers` trials at once on the Ray cluster at `address`; None starts one on this machine.

    `cpus` and `gpus` are what each worker gets. With gpus=0.5, two workers share a GPU. order: see the
    module. rebuild, follow, stop: see Executor.
    """

    separate = True
    ships_data = True

    def __init__(
        self,
        *,
        workers: Annotated[int, Field(ge=1, le=100_000)],
        cpus: Annotated[int, Field(ge=1)],
        gpus: Annotated[float, Field(ge=0)],
        address: Address,
        order: Order,
        rebuild: Rebuild,
        follow: Follow,
        stop: Stop,
    ) -> None:
        self.workers, self._cpus, self._gpus, self._address = workers, cpus, gpus, address
        self._order, self._rebuild, self._follow, self._stop = order, rebuild, follow, stop
        self._ray: Any = None
        self._actors: list[Any] = []
        self._idle: list[Any] = []
        self._busy: list[_Running] = []
        """In the order in which the jobs were submitted."""

    @classmethod
    def check_installed(cls) -> None:
        if find_spec("ray") is None:
            raise ConfigError("executor=ray: Ray is not installed: pip install 'nasmeta[ray]'")

    @property
    def capacity(self) -> int:
        return self.workers

    def submit(self, job: Job) -> None:
        if self._ray is None:
            self._connect()
        self._busy.append(self._started(job))

    def collect(self) -> tuple[Job, TrialResult]:
        while not self._stop():
            awaited = self._busy if self._order == "completion" else self._busy[:1]
            ready, _ = self._ray.wait([running.answer for running in awaited], timeout=POLL_SECONDS)
            ended = next((running for running in awaited if running.answer in ready), None)
            if ended is None:
                self._pass_on()
                continue
            place = self._busy.index(ended)
            if self._was_taken_away(ended):
                log.warning("the machine of trial %d is gone; the trial goes on elsewhere", ended.job.trial)
                self._forget(ended.actor)
                self._busy[place] = self._started(ended.job)
            else:
                del self._busy[place]
                return ended.job, self._result(ended)
        self._halt()

    def close(self) -> None:
        if self._ray is None:
            return
        for actor in [*self._actors, self._between]:
            self._ray.kill(actor)
        self._actors, self._idle, self._busy = [], [], []
        self._ray.shutdown()
        self._ray = None

    def _connect(self) -> None:
        ray = import_module("ray")
        leave_out_current_folder()
        try:
            with outside_current_folder():
                ray.init(address=self._address, include_dashboard=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"executor.address: {self._address!r}: {reason}") from error
        self._ray = ray
        self._built = ray.put(self._rebuild)
        here = import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._between = ray.remote(num_cpus=0, scheduling_strategy=here)(_Between).remote()
        self._worker = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus)(_Worker)
        there = ray.cluster_resources()
        for name, key, each in (("cpus", "CPU", self._cpus), ("gpus", "GPU", self._gpus)):
            if self.workers * each > there.get(key, 0):
                self.close()
                raise ConfigError(
                    f"executor.workers: {self.workers} of {each:g} {name} each, and the cluster has "
                    f"{there.get(key, 0):g}; use fewer, or a smaller executor.{name}"
                )

    def _started(self, job: Job) -> "_Running":
        """Starts a job on an idle actor or a new one; if all CPUs are taken, after the job of another one."""
        if self._idle:
            actor = self._idle.pop()
        elif self._has_room():
            actor = self._worker.remote(self._built, self._cpus, self._between)
            self._actors.append(actor)
        else:
            actor = min(self._actors, key=self._queue)
        return _Running(job, actor, actor.run.remote(job))

    def _has_room(self) -> bool:
        """Whether the cluster may have room for another actor. Without any, it waits for a machine."""
        there, number = self._ray.cluster_resources(), len(self._actors) + 1
        fits = number * self._cpus <= there.get("CPU", 0) and number * self._gpus <= there.get("GPU", 0)
        return fits or not self._actors

    def _queue(self, actor: Any) -> int:
        """How many jobs an actor has."""
        return sum(running.actor is actor for running in self._busy)

    def _was_taken_away(self, running: "_Running") -> bool:
        """Whether the machine of a job that has ended is gone. Waits until Ray knows what became of it."""
        errors, call = self._ray.exceptions, running.answer
        while not self._stop():
            try:
                self._ray.get(call)
            except errors.ActorUnavailableError:
                time.sleep(POLL_SECONDS)
                call = running.actor.is_there.remote()
            except errors.ActorDiedError as error:
                return "its node has died" in str(error)
            except Exception:  # of the job itself
                return False
            else:
                return call is not running.answer  # it is there again, but the answer is lost
        return True  # not known; the run stops, and its trial has not failed

    def _forget(self, actor: Any) -> None:
        """Does without an actor from now on."""
        self._ray.kill(actor)
        self._actors = [other for other in self._actors if other is not actor]
        self._idle = [other for other in self._idle if other is not actor]

    def _result(self, running: "_Running") -> TrialResult:
        try:
            answer = self._answer_of(running)
        except self._ray.exceptions.RayTaskError as error:
            raise RunFailed(f"a worker failed: {' '.join(str(error.cause).split())}") from error
        except self._ray.exceptions.RayActorError as error:
            if "creation task" in str(error):  # it never started
                raise RunFailed(f"a worker failed: {str(error).strip().splitlines()[-1]}") from error
            self._forget(running.actor)
            return lost(running.job, "its worker died")
        if isinstance(answer, NasmetaError):
            raise answer
        self._idle.append(running.actor)
        assert isinstance(answer, TrialResult)
        return answer

    def _answer_of(self, running: "_Running") -> Answer:
        """How a job has ended, once its readings are passed on."""
        answer: Answer = self._ray.get(running.answer)
        self._pass_on()
        return answer

    def _pass_on(self) -> None:
        """Passes on the readings that workers have sent."""
        for job, readings in self._ray.get(self._between.taken.remote()):
            for reading in readings:
                self._follow(job, reading)

    def _halt(self) -> NoReturn:
        """Makes every worker save its job, then raises Interrupted."""
        self._between.stop.remote()
        answers = {running.answer: running for running in self._busy}
        saved, _ = self._ray.wait(list(answers), num_returns=len(answers), timeout=SAVING_SECONDS)
        for answer in saved:
            with suppress(Exception):  # a worker that failed has nothing to tell
                self._answer_of(answers[answer])
        raise Interrupted(f"stopped with {len(answers)} of its trials in progress")


@dataclass(frozen=True)
class _Running:
    """A job, the actor that runs it, and Ray's reference to its answer."""

    job: Job
    actor: Any
    answer: Any


class _Between:
    """An actor between the run and its workers, on the run's own machine.

    A worker that runs a job takes no calls, so it is told here when to stop. What it reads of its job it
    leaves here, until the run takes it.
    """

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._readings: list[tuple[Job, list[Reading]]] = []

    async def stop(self) -> None:
        self._stopping.set()

    async def wait(self) -> None:
        await self._stopping.wait()

    async def leave(self, job: Job, readings: list[Reading]) -> None:
        self._readings.append((job, readings))

    async def taken(self) -> list[tuple[Job, list[Reading]]]:
        taken, self._readings = self._readings, []
        return taken


class _Worker:
    """An actor that judges trials in the main thread of its own process.

    rebuild: makes what judges trials; threads: how many it computes with; between: the _Between of the run.
    """

    def __init__(self, rebuild: Rebuild, threads: int, between: Any) -> None:
        torch.set_num_threads(threads)
        keep_pages()
        self._judge = rebuild()
        self._ray, self._between = import_module("ray"), between
        self._stopping = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self, job: Job) -> Answer:
        """Judges a job, and sends its readings; returns how it ended, once all of them have arrived."""
        readings: list[Reading] = []
        sent = -inf

        def report(reading: Reading) -> None:
            nonlocal sent
            readings.append(reading)
            if time.monotonic() - sent >= SEND_SECONDS:
                self._between.leave.remote(job, readings)
                readings.clear()
                sent = time.monotonic()

        try:
            return self._judge(job, report, self._stopping.is_set)
        except (Interrupted, NasmetaError) as error:
            return error
        finally:
            self._ray.get(self._between.leave.remote(job, readings))

    def is_there(self) -> None:
        """Answers once the job that it runs has ended."""

    def _listen(self) -> None:
        with suppress(Exception):  # the run has ended, and this actor ends with it
            self._ray.get(self._between.wait.remote())
            self._stopping.set()
