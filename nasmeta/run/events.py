"""The events of a run, which observers receive in the order in which they happen.

An observer is called with every event and never changes a result. An observer that fails is reported once
and then dropped (see Announcer).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nasmeta.trial import Phase, TrialResult

if TYPE_CHECKING:
    from nasmeta.run.front import Front
    from nasmeta.task import TaskBatch
    from nasmeta.training.meta_training import ReadingOf

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunStarted:
    """The run begins, or is `resumed` after `finished` of its `trials`.

    ended: all that has ended, by phase and number. searching: whether its search goes on. settings: the
    configuration by dotted key. overrides: those of the command, as far as they are known. began: when the
    run first started, in seconds since 1970.
    """

    directory: str
    trials: int
    finished: int
    resumed: bool
    batch_norm: str
    episode: "TaskBatch | None"
    """A meta-training batch to show; None if the run trains no network."""
    best: TrialResult | None = None
    """The best trial so far of a resumed run."""
    ended: Mapping[tuple[Phase, int], TrialResult] = field(default_factory=dict)
    searching: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    began: float | None = None


@dataclass(frozen=True)
class TrialStarted:
    """An architecture is about to be trained for `iterations` meta-iterations. `graph` is its graph."""

    phase: Phase
    trial: int
    arch: str
    iterations: int
    graph: Any


@dataclass(frozen=True)
class TrialReading:
    """A reading within a trial: loss and accuracy (None for regression), as `Reading` explains them."""

    phase: Phase
    trial: int
    iteration: int
    iterations: int
    loss: float
    accuracy: float | None
    of: "ReadingOf" = "train"


@dataclass(frozen=True)
class TrialFinished:
    """A trial ended, successfully or not (`result.status`). `best` says whether it is the best so far.

    `front` is the run's Pareto front if the strategy has several objectives, and `hypervolume` its volume, if
    it has one.
    """

    phase: Phase
    result: TrialResult
    best: bool
    front: "Front | None" = None
    hypervolume: float | None = None

    @property
    def trial(self) -> int:
        return self.result.trial


@dataclass(frozen=True)
class RunFinished:
    """The run is over. `summary` is what summary.json holds; `hparams` is the configuration by dotted key."""

    summary: dict[str, Any]
    hparams: dict[str, str | int | float | bool]


Event = RunStarted | TrialStarted | TrialReading | TrialFinished | RunFinished
Observer = Callable[[Event], None]


class Announcer:
    """Calls all `observers` with an event. An observer that raises is reported once and dropped."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self.observers = list(observers)

    def __call__(self, event: Event) -> None:
        for observer in list(self.observers):
            try:
                observer(event)
            except Exception as error:
                self.observers.remove(observer)
                what = f"{type(observer).__name__}: {type(error).__name__}: {error}"
                log.warning("%s; it is switched off for this run", " ".join(what.split()))
                log.debug("the error of %s", observer, exc_info=True)
