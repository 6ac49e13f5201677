"""The contract of an executor."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from nasmeta.evaluators.base import TrialResult


@dataclass(frozen=True)
class Job:
    """One trial to run: an architecture's canonical string at a budget of meta-iterations.

    continues: the trial whose meta-training goes on here; inherits: the one whose weights it starts from.
    """

    trial: int
    arch: str
    iterations: int
    continues: int | None
    inherits: int | None

    @property
    def start(self) -> int | None:
        """The trial whose weights file it starts from, in either way."""
        return self.inherits if self.continues is None else self.continues


class Executor(ABC):
    """Runs jobs by calling `run`, in this process or elsewhere.

    `run` is idempotent, so a job may be submitted again after an interruption.
    """

    def __init__(self, *, run: Callable[[Job], TrialResult]) -> None:
        self.run = run

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many jobs may be submitted and not yet collected."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Takes a job on; returns at once or not, as the executor likes."""

    @abstractmethod
    def collect(self) -> TrialResult:
        """Waits for the next job to end and returns its result; jobs may end in any order."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Gives back what the executor holds."""
