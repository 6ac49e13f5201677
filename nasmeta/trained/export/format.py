"""What every format of exported files does."""

import io
import logging
import os
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nasmeta.errors import ConfigError, RunFailed
from nasmeta.trained.export.pixels import OfPixels

Session = Callable[[Tensor], list[NDArray[np.float32]]]
"""Runs a file: pixels [n, C, H, W] uint8 -> what OfPixels.forward returns, in its order."""

RTOL, ATOL = 1e-3, 1e-4
"""How far the file's outputs may be from the network's. They differ because sums have another order."""

ROUNDING = 1e-5
"""What another order of sums may change, as a share of the network's largest embedding or logit.

Distances in a long embedding are large numbers, and the softmax sees their absolute error.
"""

TALKATIVE = ("torch.onnx", "onnxscript", "onnx_ir", "root", "absl", "jax", "torchao", "litert_torch")


NO_INT8 = "has no form in int8; all operations of search_space=conv_mcu have one"
"""The end of an error."""


class Format(ABC):
    """A file format, by a library that may not be installed.

    extra: the extra of this package that installs it. needs: its modules. suffix: of the files.
    """

    extra: str
    needs: tuple[str, ...]
    suffix: str

    def check_installed(self) -> None:
        """Raises ConfigError if a module is not installed."""
        missing = [name for name in self.needs if find_spec(name) is None]
        if missing:
            what, extra = ", ".join(missing), self.extra
            raise ConfigError(f"--format {extra}: needs {what}; pip install 'nasmeta[{extra}]'")

    @abstractmethod
    def converted(self, module: OfPixels, pixels: Tensor, metadata: dict[str, str]) -> bytes:
        """The module as a file in float32; `pixels` are examples. Raises ConfigError if it cannot be."""

    @abstractmethod
    def quantized(self, data: bytes, pixels: Tensor) -> bytes:
        """A file of `converted` in int8, except for the head.

        pixels: images that the ranges of the activations are taken from. Raises ConfigError if an operation
        has no form in int8.
        """

    @abstractmethod
    def session(self, data: bytes) -> Session:
        """What runs the file."""

    @abstractmethod
    def deviations(self, data: bytes, quantized: bytes, pixels: Tensor) -> dict[str, float]:
        """How far each layer's output in int8 is from float's: the signal-to-noise ratio in dB, by name."""

    def scale(self, data: bytes) -> tuple[float, int]:
        """The scale and the zero of the embeddings as the file gives them: q means (q - zero) * scale."""
        return 1.0, 0

    def finished(self, data: bytes, metadata: dict[str, str]) -> bytes:
        """The file as it is written."""
        return data

    def arena(self, data: bytes, pixels: Tensor) -> int | None:
        """The bytes of memory that an interpreter for microcontrollers takes; None if that is not known."""
        return None


def compared(module: OfPixels, session: Session, pixels: Tensor) -> float:
    """The largest difference from torch's outputs, for all images at once and for the first by itself.

    Raises RunFailed if it is larger than rounding explains.
    """
    error = 0.0
    for part in (pixels, pixels[:1]):
        expected = module(part)
        largest = [float(expected[-1].abs().max())]
        if module.head is not None:
            largest.insert(0, float(module.head.logits(expected[-1]).abs().max()))
        for actual, right, size in zip(session(part), expected, largest, strict=True):
            if not np.allclose(actual, right.numpy(), rtol=RTOL, atol=max(ATOL, ROUNDING * size)):
                raise RunFailed(
                    f"the exported network differs from the original by up to "
                    f"{np.abs(actual - right.numpy()).max():.2g}: nothing was written; please report the "
                    f"architecture"
                )
            error = max(error, float(np.abs(actual - right.numpy()).max()))
    return error


@contextmanager
def quiet() -> Iterator[Callable[[], str]]:
    """Silences libraries inside the block, those in C too; yields what returns their text so far."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    saved = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as sink, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for number in (1, 2):
            os.dup2(sink.fileno(), number)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield lambda: os.pread(sink.fileno(), 1 << 20, 0).decode(errors="replace")
        finally:
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
