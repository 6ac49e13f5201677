"""The contract of an executor."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from nasmeta.trial import Job, TrialResult

if TYPE_CHECKING:
    from nasmeta.training.meta_training import Reading
    from nasmeta.training.score import Stop


Judge = Callable[[Job, Callable[["Reading"], None], "Stop"], TrialResult]
"""Runs a job and reports its readings. Once `Stop` says so, it saves the progress and raises Interrupted."""
Rebuild = Callable[..., Judge]
"""Makes a Judge that runs jobs in another process as they would run in this one. Can be pickled.

Called without arguments, it computes on the run's own device; with `device=NAME`, on that one.
"""
Order = Literal["submission", "completion"]
"""The order in which results are told: that of the jobs, or that in which they end."""
Follow = Callable[[Job, "Reading"], None]
"""Called with every reading of a job's metrics."""


def lost(job: Job, reason: str, seconds: float = 0.0) -> TrialResult:
    """The result of a job whose worker died after so many seconds."""
    return TrialResult(
        trial=job.trial,
        arch=job.arch,
        iterations=job.iterations,
        status="failed",
        reason=f"{reason}; if memory is short, use fewer executor.workers",
        params=0,
        flops=0,
        train_seconds=seconds,
        seconds=seconds,
    )


class Executor(ABC):
    """Runs jobs and returns their results.

    If these come in the order of submission, a search gives the same result however long its trials take. If
    they come in the order of completion, no worker waits for another one's trial. A job is idempotent: it may
    be submitted again after an interruption, also to another executor.

    The run passes in the arguments of config.schema.INJECTED, of which a constructor names those that it
    needs. `run` runs a job in this process. `rebuild` makes what runs jobs in another process. An executor
    that uses other processes takes `follow` and `stop` as well, which `run` already observes.
    """

    separate: ClassVar[bool] = False
    """Whether jobs run in processes that share no memory with the run's."""
    ships_data: ClassVar[bool] = False
    """Whether `rebuild` brings the loaded data along, so that workers read no files of it."""

    @classmethod
    def check_installed(cls) -> None:
        """Raises ConfigError if a package that the executor needs is not installed; most need none."""
        return

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many jobs may be submitted before one is collected, at least 1."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Accepts a job. It may run now or later."""

    @abstractmethod
    def collect(self) -> tuple[Job, TrialResult]:
        """Waits for the oldest job to end, or for any, and returns it with its result.

        Once the run has to stop, it saves the progress of every job and raises Interrupted, even if a result
        is ready. If the run told the strategy that result but asked for no further trial, it would resume
        with asks and tells in another order.
        """

    def close(self) -> None:  # noqa: B027 - most executors hold nothing
        """Kills what still runs and releases what the executor holds."""
