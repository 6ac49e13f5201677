"""The file of a run in which a strategy keeps the training that it does itself, next to the journal.

The journal stays the source of truth: the file says how many asks its tensors have answered, and what the
answers were. Losing it costs time and changes nothing, because the strategy finds the same answers again from
its seed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasmeta.training import checkpoint


class ProgressFile:
    """Loads and saves a strategy's tensors.

    path: the file; None for a strategy that nobody runs. seconds: how much work to do between two saves.
    stop: whether to save and raise Interrupted now.
    """

    def __init__(
        self, path: Path | None = None, *, seconds: float = 0.0, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.path, self.seconds, self.stop = path, seconds, stop

    def load(self) -> dict[str, Any] | None:
        """What was saved last, if it is whole; None if there is nothing."""
        found: list[dict[str, Any]] = []
        if self.path is not None:
            checkpoint.load_progress(self.path, found.append)
        return found[0] if found else None

    def save(self, payload: dict[str, Any]) -> None:
        """Replaces the saved payload, which holds tensors and plain values."""
        if self.path is not None:
            checkpoint.save_progress(self.path, payload)
