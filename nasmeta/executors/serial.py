"""One trial after the other, in this process: nothing to set up, and the order never varies."""

from collections import deque
from collections.abc import Callable

from nasmeta.evaluators.base import TrialResult
from nasmeta.executors.base import Executor, Job


class SerialExecutor(Executor):
    """Runs a job when it is collected."""

    capacity = 1

    def __init__(self, *, run: Callable[[Job], TrialResult]) -> None:
        super().__init__(run=run)
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def collect(self) -> TrialResult:
        return self.run(self._waiting.popleft())
