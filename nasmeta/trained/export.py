"""Exports a fitted classifier or the embedding network as ONNX, to run without torch: `nasmeta export`.

The network in the file takes pixels, [n, channels, size, size] uint8, and normalizes them itself. The file's
metadata hold `classes` (JSON), `preprocessing` (JSON: how a picture becomes those pixels), `arch`, `nasmeta`
(the version), and `provisional` (JSON: whether the network is a candidate of a search, not trained in full).
"""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasmeta import __version__, seeding
from nasmeta.datasets.decode import Preprocessing
from nasmeta.datasets.pictures import Picture
from nasmeta.errors import ConfigError, RunFailed
from nasmeta.runtime import files
from nasmeta.trained.classifier import FewShotClassifier

NEEDED = ("onnx", "onnxruntime", "onnxscript")

TALKATIVE = ("torch.onnx", "onnxscript", "onnx_ir")

RTOL, ATOL = 1e-3, 1e-4
"""How far the file's outputs may be from the network's. They differ because sums have another order."""

ROUNDING = 1e-5
"""What another order of sums may change, as a share of the network's largest output before the softmax.

Distances in a long embedding are large numbers, and the softmax sees their absolute error.
"""


class OfPixels(nn.Module):
    """A network that takes uint8 pixels; with `probabilities`, its outputs go through a softmax."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, *, probabilities: bool) -> None:
        super().__init__()
        self.network, self.preprocessing = network, preprocessing
        self.softmax = nn.Softmax(-1) if probabilities else nn.Identity()
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """[n, C, H, W] uint8 -> [n, classes], or [n, features]."""
        outputs: Tensor = self.softmax(self.before_softmax(pixels))
        return outputs

    def before_softmax(self, pixels: Tensor) -> Tensor:
        """The network's own outputs."""
        outputs: Tensor = self.network(self.preprocessing.normalize(pixels))
        return outputs


def check_installed() -> None:
    """Raises ConfigError if a package that `export_onnx` needs is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"--format onnx: needs {', '.join(missing)}; pip install 'nasmeta[onnx]'")


def export_onnx(classifier: FewShotClassifier, path: Path, examples: Sequence[Picture] = ()) -> float:
    """Writes the fitted classifier, or the embedding network if it is not fitted; returns the largest error.

    The outputs of onnxruntime for random pixels and for `examples` are compared with torch's. If they differ,
    nothing is written and RunFailed is raised. Raises ConfigError if the network's answer for an image
    depends on other images: under `transductive`, or for an embedding that is normalized by a support set.
    """
    preprocessing = classifier.preprocessing
    fitted = hasattr(classifier, "classes_")
    network = classifier.network if fitted else classifier.body
    module = OfPixels(network, preprocessing, probabilities=fitted).cpu()
    pixels = _random_pixels(preprocessing)
    if examples:
        pixels = torch.cat([pixels, classifier.pixels(examples)])
    metadata = {
        "nasmeta": __version__,
        "arch": classifier.arch,
        "provisional": json.dumps(classifier.provisional),
        "classes": json.dumps(classifier.classes_.tolist() if fitted else []),
        "preprocessing": json.dumps(asdict(preprocessing)),
    }
    data = _converted(module, pixels, "probabilities" if fitted else "embeddings", metadata)
    error = _compared(module, data, pixels)
    files.write_atomically(path, data)
    return error


def _random_pixels(preprocessing: Preprocessing) -> Tensor:
    shape = (4, preprocessing.channels, preprocessing.size, preprocessing.size)
    return torch.from_numpy(seeding.stream(0, "export").integers(0, 256, shape, dtype=np.uint8))


def _converted(module: OfPixels, pixels: Tensor, output: str, metadata: dict[str, str]) -> bytes:
    with _quiet():
        program: Any = torch.onnx.export(
            module,
            (pixels[:2],),
            input_names=["pixels"],
            output_names=[output],
            dynamic_shapes={"pixels": {0: torch.export.Dim("images")}},
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props.update(metadata)
    data: bytes = program.model_proto.SerializeToString()
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's progress messages and warnings inside the block."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _compared(module: OfPixels, data: bytes, pixels: Tensor) -> float:
    """The largest difference from torch's outputs, for all images at once and for the first by itself."""
    session = import_module("onnxruntime").InferenceSession(data, providers=["CPUExecutionProvider"])
    error = 0.0
    for part in (pixels, pixels[:1]):
        actual: NDArray[np.float32] = session.run(None, {"pixels": part.numpy()})[0]
        with torch.no_grad():
            outputs = module.before_softmax(part)
            expected = module.softmax(outputs).numpy()
        if not np.allclose(
            actual, expected, rtol=RTOL, atol=max(ATOL, ROUNDING * float(outputs.abs().max()))
        ):
            raise RunFailed(
                f"the exported network differs from the original by up to "
                f"{np.abs(actual - expected).max():.2g}: nothing was written; please report the architecture"
            )
        error = max(error, float(np.abs(actual - expected).max()))
    return error
