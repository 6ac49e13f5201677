"""learning.csv: how the networks of a run learned, a line for each reading of each training."""

import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from nasmeta.run.events import Event, TrialReading
from nasmeta.runtime import files

HEADER = ("phase", "trial", "iteration", "of", "loss", "accuracy")

Curve = dict[int, tuple[float, float | None]]
"""Iteration -> loss and accuracy (None for regression), as `Reading` explains them."""

Key = tuple[str, int, str]
"""The phase, the trial, and what was read: `train` or `judged`."""


class Learning:
    """An observer that appends every reading to the file at `path`, in the run directory.

    A training that a kill has thrown back appends its readings again; the later ones count.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, TrialReading):
            accuracy = "" if event.accuracy is None else f"{event.accuracy:.6g}"
            self._write((event.phase, event.trial, event.iteration, event.of, f"{event.loss:.6g}", accuracy))

    def _write(self, cells: tuple[object, ...]) -> None:
        if self._file is None:
            self._file = files.appending(self._path, inside=self._path.parent)
            self._write(
                HEADER if self._file.tell() == 0 else ()
            )  # the latter ends a line that a kill has torn
        self._file.write((",".join(map(str, cells)) + "\n").encode())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def learning_curves(path: Path) -> dict[Key, Curve]:
    """The curves of a run's trainings; none if there is no such file.

    Lines that are not readings are skipped.
    """
    curves: dict[Key, Curve] = {}
    for phase, trial, iteration, of, loss, accuracy in _lines(path):
        with suppress(ValueError):
            reading = float(loss), float(accuracy) if accuracy else None
            curves.setdefault((phase, int(trial), of), {})[int(iteration)] = reading
    return curves


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        text = files.read_bytes(path, files.MAX_TABLE, inside=path.parent).decode(errors="replace")
    except OSError:
        return
    with suppress(csv.Error):
        for cells in csv.reader(io.StringIO(text)):
            if len(cells) == len(HEADER):
                yield cells
