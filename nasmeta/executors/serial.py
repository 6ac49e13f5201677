"""One trial after the other in this process. There is nothing to set up, and each trial has all cores."""

from collections import deque
from collections.abc import Callable

from nasmeta.executors.base import Executor
from nasmeta.trial import Job, TrialResult


class SerialExecutor(Executor):
    """Runs a job in this process when its result is collected. `run` is the function that runs it."""

    capacity = 1

    def __init__(self, *, run: Callable[[Job], TrialResult]) -> None:
        self._run = run
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def collect(self) -> tuple[Job, TrialResult]:
        job = self._waiting.popleft()
        return job, self._run(job)
