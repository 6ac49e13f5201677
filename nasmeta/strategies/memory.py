"""Where a strategy with tensors keeps them: a file of the run, beside the journal.

The journal stays the truth: the file says how many asks its tensors have answered, and what those were. One
that is lost costs time and changes nothing, since the strategy finds the same answers again from its seed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasmeta import checkpoint


class Memory:
    """path: the file, None for a strategy that nobody runs; stop: whether to save and raise Interrupted.

    seconds: how much work between two savings.
    """

    def __init__(
        self, path: Path | None = None, *, seconds: float = 0.0, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.path, self.seconds, self.stop = path, seconds, stop

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None before the first time."""
        if self.path is None or not self.path.exists():
            return None
        return checkpoint.load(self.path)

    def save(self, payload: dict[str, Any]) -> None:
        """Replaces what is kept; tensors and plain values."""
        if self.path is not None:
            checkpoint.save(self.path, payload)
