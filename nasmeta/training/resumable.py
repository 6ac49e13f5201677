"""A meta-training that keeps its progress in a file."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from nasmeta.errors import Interrupted
from nasmeta.training import checkpoint
from nasmeta.training.meta_training import MetaTraining, Progress
from nasmeta.training.score import Stop

T = TypeVar("T", bound=MetaTraining)

READ_EVERY = 10
"""Meta-iterations between two readings of the metrics. Each reading waits for the device."""


class Resumable(Generic[T]):
    """The training that `make` returns, resumed from the file `path` if that is there.

    arch: the architecture that is trained, or None for weights that many share; a file of another one is not
    used. save_seconds: seconds between two saves. `resumed` says whether a file was used, and `extra` holds
    plain values and tensors that are saved next to the training.
    """

    def __init__(self, path: Path, make: Callable[[], T], arch: str | None, save_seconds: float) -> None:
        self.path, self.arch, self.save_seconds = path, arch, save_seconds
        self.seconds = 0.0
        """Seconds spent in `run`, before interruptions too."""
        self.finished = False
        self.extra: dict[str, Any] = {}
        self._make = make
        self.resumed = checkpoint.load_progress(path, self._restore)
        if not self.resumed:
            self.training = make()

    def run(self, iterations: int, report: Callable[[Progress], None], stop: Stop) -> None:
        """Trains up to `iterations` in all, and saves now and then. The end is not saved.

        Raises Interrupted, after a save, once `stop()` is true, and Diverged if the loss is not finite. What
        `stop` raises itself comes through without a save.
        """
        training = self.training
        began = last_save = time.monotonic()
        before = self.seconds
        while training.iteration < iterations:
            training.step()
            if training.iteration % READ_EVERY == 0 or training.iteration == iterations:
                report(training.read())
            now = time.monotonic()
            self.seconds = before + now - began
            stopping = stop()
            if stopping or now - last_save >= self.save_seconds:
                self.save()
                last_save = time.monotonic()
            if stopping:
                raise Interrupted(f"stopped at iteration {training.iteration} of {iterations}")

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
            "training": self.training.state_dict(),
            "statistics": self.training.state.statistics,
            "seconds": self.seconds,
            "finished": self.finished,
            "extra": self.extra,
        }
        checkpoint.save_progress(self.path, payload)

    def _restore(self, payload: dict[str, Any]) -> None:
        if payload["arch"] != self.arch:
            raise ValueError(f"it is of {payload['arch']}")
        training = self._make()  # a file that does not fit leaves no trace in another one
        training.load_state_dict(payload["training"])
        training.state.set_statistics(payload["statistics"])
        self.training, self.extra = training, payload["extra"]
        self.seconds, self.finished = payload["seconds"], payload["finished"]
