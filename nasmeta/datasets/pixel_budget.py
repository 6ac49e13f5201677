"""Limits the pixels that the decoding threads of a process have in memory together."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class PixelBudget:
    """Lets threads decode images at the same time, as long as these have at most `pixels` together."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._free = pixels
        self._changed = Condition()

    @contextmanager
    def spend(self, pixels: int) -> Iterator[None]:
        """Waits until `pixels` are free, at most the whole budget, and holds them inside of the `with`."""
        pixels = min(pixels, self.pixels)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()
