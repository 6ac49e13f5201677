"""What jobs that run side by side write to stderr, told apart: every line says which job it is of."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from typing import TextIO


class PrefixedLines(io.TextIOBase):
    """Writes whole lines to `stream`, each behind `prefix`. Not a terminal: bars would collide."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream, self._prefix = stream, prefix
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            self._stream.write("".join(f"{self._prefix}{line}\n" for line in lines))
            self._stream.flush()
        return len(text)

    def end(self) -> None:
        """Writes a last line that was not ended."""
        if self._begun:
            self.write("\n")


@contextmanager
def told_apart(number: int) -> Iterator[None]:
    """Inside, what this process writes to stderr, log messages included, names the job."""
    stderr = sys.stderr
    lines = PrefixedLines(stderr, f"job {number}: ")
    with ExitStack() as restored, redirect_stderr(lines):
        restored.callback(lines.end)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is stderr:
                handler.setStream(lines)
                restored.callback(handler.setStream, stderr)
        yield
