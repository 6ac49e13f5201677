"""Tells apart what parallel jobs write to stderr: every line says which job it comes from."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from typing import TextIO


class PrefixedLines(io.TextIOBase):
    """Writes whole lines to `stream`, each after `prefix`, which a line may have already.

    It is no terminal, so that no bars are drawn.
    """

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream, self._prefix = stream, prefix
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            self._stream.write(
                "".join(f"{self._prefix}{line.removeprefix(self._prefix)}\n" for line in lines)
            )
            self._stream.flush()
        return len(text)

    def end(self) -> None:
        """Writes the last line, if it was not ended."""
        if self._begun:
            self.write("\n")


@contextmanager
def told_apart(number: int) -> Iterator[None]:
    """Prefixes what this process writes to stderr inside the block, log messages included, with the job."""
    stderr = sys.stderr
    lines = PrefixedLines(stderr, f"job {number}: ")
    with ExitStack() as restored, redirect_stderr(lines):
        restored.callback(lines.end)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is stderr:
                handler.setStream(lines)
                restored.callback(handler.setStream, stderr)
        yield
