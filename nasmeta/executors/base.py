"""The contract of an executor."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from nasmeta.evaluators.base import Report
from nasmeta.trial import Job, TrialResult

if TYPE_CHECKING:
    from nasmeta.training.meta_training import Progress
    from nasmeta.training.score import Stop


Judge = Callable[[Job, Report, "Stop"], TrialResult]
"""What runs a job; raises Interrupted, progress saved, once it is to stop."""
Rebuild = Callable[[], Judge]
"""Makes in another process, to which it can be sent, what runs jobs there as they would be run here."""
Follow = Callable[[Job, "Progress"], None]
"""Is told every reading of a job's metrics."""


class Executor(ABC):
    """Runs jobs, and hands their results back in the order in which they were submitted.

    Of what the run passes in (config.INJECTED) a constructor takes what it needs: `run` runs a job in this
    process, `rebuild` is for others, `follow` and `stop` are for those that have these to themselves. The
    order makes a search the same however long its trials take. A job is idempotent: it may be submitted
    again after an interruption, to another executor too.
    """

    separate: ClassVar[bool] = False
    """Whether jobs run in other processes than the run's, which share no memory with it."""

    @classmethod
    def check_installed(cls) -> None:
        """Raises ConfigError where the executor needs what is not installed; most need nothing more."""
        return

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many jobs may be submitted and not yet collected."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Takes a job on; returns at once or not, as the executor likes."""

    @abstractmethod
    def collect(self) -> TrialResult:
        """Waits for the oldest job to end and returns its result.

        Once the run is to stop it raises Interrupted, the progress of every job saved, although a result may
        be there: a run that told it, but asked for no further trial, would go on in another order.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Ends at once what still runs, and gives back what the executor holds."""
