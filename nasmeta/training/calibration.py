"""What is fitted to a network on meta-validation tasks, once it is trained: how far to trust its answers.

The temperature of its probabilities (`answers`), and the distance that tells unknown queries (`unknown`).
"""

from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any

from pydantic import Field

from nasmeta.datasets.base import EpisodeSampler
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.training.answers import BINS
from nasmeta.training.score import Score, Stop, batches
from nasmeta.training.unknown import RATE, Distances, measure

MEASURED = 100
"""Tasks that distances are measured on, at most. Each is adapted to by itself."""


@dataclass(frozen=True)
class Calibration:
    """What a checkpoint holds.

    temperature: divides the logits. threshold: the distance beyond which a query belongs to no class; None if
    the answer to a query depends on other queries. scatter: 1 + 1/n for the n shots that the temperature was
    fitted with, if logits are distances from prototypes; these scatter with the shots, see `unknown`.
    """

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    scatter: Annotated[float, Field(ge=1, le=2)] | None = None

    def temperature_at(self, scatter: float) -> float:
        """The temperature for support sets of another scatter."""
        return self.temperature if self.scatter is None else self.temperature * scatter / self.scatter


UNCALIBRATED = Calibration(1.0)
"""That of a network whose answers were not calibrated: probabilities stay as they are."""


@dataclass(frozen=True)
class Tasks:
    """A trained network, and tasks to calibrate it on, or to measure a calibration on.

    first_batch: that of the tasks, as in `score`. stop: whether to stop.
    """

    learner: MetaLearner
    state: MetaState
    sampler: EpisodeSampler
    stop: Stop
    first_batch: int = 0

    @property
    def scatter(self) -> float:
        """1 + 1/n for the n shots of these tasks."""
        task = self.sampler.batch(self.first_batch, 1)
        return 1 + task.classes.shape[1] / task.support_y.shape[1]

    def distances(self, tasks: int) -> Distances | None:
        """The distances of queries in the first `tasks` tasks. Raises Interrupted once `stop()` is true."""
        drawn = batches(self.sampler, min(tasks, MEASURED), first_batch=self.first_batch, stop=self.stop)
        return measure(self.learner, self.state, drawn)


def fit(tasks: Tasks, score: Score) -> Calibration | None:
    """The calibration for these tasks, on which the network has the given score.

    None for regression, and for a network that diverges on them. Raises Interrupted.
    """
    if score.answers is None or not isfinite(score.loss):
        return None
    distances = tasks.distances(score.tasks)
    return Calibration(
        score.answers.temperature(),
        None if distances is None else distances.threshold,
        tasks.scatter if tasks.learner.distance_logits else None,
    )


def measured(calibration: Calibration | None, tasks: Tasks, score: Score) -> dict[str, Any] | None:
    """How well a calibration fits these tasks, on which the network has the given score.

    None if there is no calibration, or if a logit is not finite. Otherwise the fields of summary.Calibrated.
    Raises Interrupted.
    """
    answers = score.answers
    if calibration is None or answers is None or not answers.logits.isfinite().all():
        return None
    temperature, threshold = calibration.temperature_at(tasks.scatter), calibration.threshold
    distances = None if threshold is None else tasks.distances(score.tasks)
    rejects, accepts = distances.errors(threshold) if distances and threshold is not None else (None, None)
    return {
        "temperature": temperature,
        "bins": BINS,
        "error": answers.calibration_error(temperature),
        "raw_error": answers.calibration_error(),
        "loss": answers.loss(temperature),
        "raw_loss": answers.loss(),
        "rejects_aimed_at": RATE,
        "false_rejects": rejects,
        "false_accepts": accepts,
    }
