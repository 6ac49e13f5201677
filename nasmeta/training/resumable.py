"""A meta-training that keeps its progress in a file."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from nasmeta.errors import Interrupted
from nasmeta.training import checkpoint
from nasmeta.training.meta_training import MetaTraining, Reading
from nasmeta.training.score import Stop

T = TypeVar("T", bound=MetaTraining)

READ_EVERY = 10
"""Meta-iterations between two readings of the metrics. Each reading waits for the device."""


class Steps(Protocol):
    """A training that goes on iteration by iteration; `iteration` counts those it has done."""

    iteration: int

    def step(self) -> object: ...


def advance(
    training: Steps,
    iterations: int,
    *,
    save: Callable[[], None],
    save_seconds: float,
    stop: Stop,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Trains up to `iterations` in all, and saves every `save_seconds`. The end is not saved.

    Calls after() when an iteration is done. Raises Interrupted, after a save, once `stop()` is true. What
    `stop` raises itself comes through without a save.
    """
    last_save = time.monotonic()
    while training.iteration < iterations:
        training.step()
        after()
        stopping = stop()
        if stopping or time.monotonic() - last_save >= save_seconds:
            save()
            last_save = time.monotonic()
        if stopping:
            raise Interrupted(f"stopped at iteration {training.iteration} of {iterations}")


class Resumable(Generic[T]):
    """The training that `make` returns, resumed from the file `path` if that is there.

    arch: the architecture that is trained, or None for weights that many share. seed: that of the training. A
    file of another architecture or seed is not used, nor one that has more iterations than an architecture is
    trained for. save_seconds: seconds between two saves. chooses: whether the training leaves the best of its
    iterates; a file of the other kind is not used. `resumed` says whether a file was used, and `extra`
    holds plain values and tensors that are saved next to the training.
    """

    def __init__(
        self,
        path: Path,
        make: Callable[[], T],
        arch: str | None,
        seed: int,
        save_seconds: float,
        *,
        chooses: bool = False,
    ) -> None:
        self.path, self.arch, self.seed, self.save_seconds = path, arch, seed, save_seconds
        self.chooses = chooses
        self.seconds = 0.0
        """Seconds spent in `run`, before interruptions too."""
        self.finished = False
        self.extra: dict[str, Any] = {}
        self._make = make
        self.resumed = checkpoint.load_progress(path, self._restore)
        if not self.resumed:
            self.training = make()

    def run(self, iterations: int, report: Callable[[Reading], None], stop: Stop) -> None:
        """Trains as `advance` does, and reports now and then. Raises Diverged if the loss is not finite."""
        training, before, began = self.training, self.seconds, time.monotonic()

        def after() -> None:
            if training.iteration % READ_EVERY == 0 or training.iteration == iterations:
                report(training.read())
            self.seconds = before + time.monotonic() - began

        advance(training, iterations, save=self.save, save_seconds=self.save_seconds, stop=stop, after=after)

    def finish(self) -> None:
        """Computes the population statistics after the last iteration, once, and saves."""
        if not self.finished:
            self.training.finish()
            self.finished = True
            self.save()

    def save(self) -> None:
        """Writes the progress to the file, atomically."""
        payload = {
            "arch": self.arch,
            "seed": self.seed,
            "iterations": self.training.iterations,
            "horizon": self.training.horizon,
            "training": self.training.state_dict(),
            "statistics": self.training.state.statistics,
            "seconds": self.seconds,
            "finished": self.finished,
            "chooses": self.chooses,
            "extra": self.extra,
        }
        checkpoint.save_progress(self.path, payload)

    def _restore(self, payload: dict[str, Any]) -> None:
        if (payload["arch"], payload["seed"]) != (self.arch, self.seed):
            raise ValueError(f"it is of {payload['arch']}, trained with seed {payload['seed']}")
        training = self._make()  # a file that does not fit leaves no trace in another one
        if payload["horizon"] != training.horizon and not training.open_ended:
            raise ValueError(f"its learning rate follows a schedule of {payload['horizon']} iterations")
        same = payload["iterations"] == training.iterations
        if payload["extra"] and not same:
            raise ValueError(f"it has chosen among the iterates of {payload['iterations']} iterations")
        if payload["chooses"] != self.chooses:
            raise ValueError("one of the two trainings leaves its best iterate, the other one its last")
        training.load_state_dict(payload["training"])
        if self.arch is not None and training.iteration > training.iterations:
            raise ValueError(f"it has had {training.iteration} iterations of {training.iterations}")
        self.seconds, self.finished = payload["seconds"], payload["finished"] and same
        training.state.set_statistics(payload["statistics"] if same else {})
        self.training, self.extra = training, payload["extra"]
