"""Where a strategy with tensors keeps them: a file of the run, beside the journal.

The journal stays the truth: the file says how many asks its tensors have answered, and what those were. One
that is lost costs time and changes nothing, since the strategy finds the same answers again from its seed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasmeta.training import checkpoint


class Memory:
    """path: the file, None for a strategy that nobody runs; stop: whether to save and raise Interrupted.

    seconds: how much work between two savings.
    """

    def __init__(
        self, path: Path | None = None, *, seconds: float = 0.0, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.path, self.seconds, self.stop = path, seconds, stop

    def load(self) -> dict[str, Any] | None:
        """What was saved last and is whole; None where nothing is."""
        found: list[dict[str, Any]] = []
        if self.path is not None:
            checkpoint.load_progress(self.path, found.append)
        return found[0] if found else None

    def save(self, payload: dict[str, Any]) -> None:
        """Replaces what is kept; tensors and plain values."""
        if self.path is not None:
            checkpoint.save_progress(self.path, payload)
