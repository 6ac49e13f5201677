"""One trial after the other, in this process: nothing to set up, and all cores for each."""

from collections import deque
from collections.abc import Callable

from nasmeta.executors.base import Executor
from nasmeta.trial import Job, TrialResult


class SerialExecutor(Executor):
    """Runs a job when it is collected."""

    capacity = 1

    def __init__(self, *, run: Callable[[Job], TrialResult]) -> None:
        self._run = run
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def collect(self) -> TrialResult:
        return self._run(self._waiting.popleft())
