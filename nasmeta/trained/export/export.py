"""Exports a fitted classifier or the embedding network, to run without torch: `nasmeta export`.

The network in the file takes pixels and normalizes them itself. The file's metadata hold `classes` (JSON),
`preprocessing` (JSON: how a picture becomes those pixels), `arch`, `nasmeta` (the version), and `provisional`
(JSON: whether the network is a candidate of a search, not trained in full).
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nasmeta import __version__, seeding
from nasmeta.datasets.pictures import Picture
from nasmeta.errors import ConfigError, DataError, RunFailed
from nasmeta.meta_learners.task_head import TaskHead
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.runtime import files
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.trained.export.check import (
    Accuracies,
    accuracies_file_by_file,
    accuracies_with_one_body,
    training_images,
)
from nasmeta.trained.export.format import Format, Session, compared
from nasmeta.trained.export.onnx import Onnx
from nasmeta.trained.export.pixels import Head, OfPixels, activation_first
from nasmeta.trained.export.tflite import TfLite
from nasmeta.trained.meta_test import MetaTest

FORMATS: dict[str, Format] = {"onnx": Onnx(), "tflite": TfLite()}

WORST_LAYERS = 3
"""How many layers an error names."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Int8:
    """How to quantize. test: the meta-test tasks to check on, or None. images: pixels to calibrate on.

    max_loss: how many points of accuracy the file may lose.
    """

    test: MetaTest | None
    images: Tensor
    max_loss: float

    @classmethod
    def of(
        cls,
        test: MetaTest | None,
        classifier: FewShotClassifier,
        examples: Sequence[Picture],
        max_loss: float,
    ) -> "Int8":
        """Calibrates on `examples` and on training images. Raises ConfigError if there are neither."""
        parts = [classifier.pixels(examples)] if examples else []
        if test is not None:
            try:
                parts.append(training_images(test, classifier.preprocessing))
            except DataError as error:
                log.warning("calibrated on the examples alone: %s", error)
        if not parts:
            raise ConfigError(
                "--format: int8 is calibrated on images, and those that the network was trained on are not "
                "at hand; name their folder (dataset.root=FOLDER), or examples (--support)"
            )
        return cls(test, torch.cat(parts), max_loss)


def write(
    classifier: FewShotClassifier,
    path: Path,
    format: Format,
    examples: Sequence[Picture] = (),
    int8: Int8 | None = None,
    *,
    embedding: bool = False,
) -> Session:
    """Writes the fitted classifier, or the embedding network; returns what runs the file.

    embedding: write the embedding network even if the classifier is fitted.

    What the file gives for random pixels and for `examples` is compared with torch's outputs, before it is
    quantized. Raises RunFailed if it differs, or if int8 loses too much. Raises ConfigError if the network's
    answer for an image depends on other images: under `transductive`, or for an embedding that is normalized
    by a support set. Nothing is written then.
    """
    fitted = hasattr(classifier, "classes_") and not embedding
    module, metadata = _module(classifier, fitted), _metadata(classifier, fitted)
    pixels = _compared_pixels(classifier, examples)
    data = format.converted(module, pixels, metadata)
    finished = format.finished(data, metadata)
    session = format.session(finished)
    error = compared(module, session, pixels)
    in_float = "" if int8 is None else " in float, before it is quantized,"
    log.info("checked: the file's outputs%s differ from torch's by at most %.1g", in_float, error)
    size = _kib(len(finished))
    if int8 is not None:
        finished, session = _quantized(classifier, format, int8, data, metadata)
        arena = format.arena(finished, pixels)
        size = f"{_kib(len(finished))} (in float32 {size})"
        size += "" if arena is None else f", arena {_kib(arena)} (tflite-micro)"
    files.write_atomically(path, finished)
    log.info("%s: %s", path.name, size)
    return session


def _compared_pixels(classifier: FewShotClassifier, examples: Sequence[Picture]) -> Tensor:
    """The pixels [n, C, H, W] on which file and network are compared: 4 random images, then the examples."""
    shape = (4, classifier.preprocessing.channels, *[classifier.preprocessing.size] * 2)
    pixels = torch.from_numpy(seeding.stream(0, "export").integers(0, 256, shape, dtype=np.uint8))
    return torch.cat([pixels, classifier.pixels(examples)]) if examples else pixels


def _quantized(
    classifier: FewShotClassifier, format: Format, int8: Int8, data: bytes, metadata: dict[str, str]
) -> tuple[bytes, Session]:
    """The file in int8 that `data` becomes, and what runs it. Raises RunFailed if it loses too much."""
    quantized = format.quantized(data, int8.images)
    finished = format.finished(quantized, metadata)
    session = format.session(finished)
    if int8.test is not None:
        found = _measured(classifier, format, int8, session)
        _check(found, int8.max_loss, lambda: format.deviations(data, quantized, int8.images[:20]))
    return finished, session


def _kib(size: int) -> str:
    return f"{size / 1024:.1f} KiB"


def _metadata(classifier: FewShotClassifier, fitted: bool) -> dict[str, str]:
    """What the file says of itself; whoever runs it needs the classes and the preprocessing."""
    return {
        "nasmeta": __version__,
        "arch": classifier.arch,
        "provisional": json.dumps(classifier.provisional),
        "classes": json.dumps(classifier.classes_.tolist() if fitted else []),
        "preprocessing": json.dumps(asdict(classifier.preprocessing)),
    }


def _module(classifier: FewShotClassifier, fitted: bool) -> OfPixels:
    if fitted:
        return _of_task(classifier.network, classifier)
    return OfPixels(activation_first(classifier.body), None, classifier.preprocessing).cpu()


def _of_task(network: TaskNetwork, classifier: FewShotClassifier) -> OfPixels:
    return OfPixels(activation_first(network.body), Head(network), classifier.preprocessing).cpu()


def int8_accuracies(classifier: FewShotClassifier, format: Format, int8: Int8) -> Accuracies:
    """The accuracies of the network and of its file in int8, which is not kept. Raises as `write` does."""
    data = format.converted(_module(classifier, fitted=False), int8.images[:2], {})
    return _measured(classifier, format, int8, format.session(format.quantized(data, int8.images)))


def _measured(classifier: FewShotClassifier, format: Format, int8: Int8, session: Session) -> Accuracies:
    """The accuracies on the meta-test tasks of the network and of what `session` runs."""
    test, preprocessing = int8.test, classifier.preprocessing
    assert test is not None
    if isinstance(test.learner, TaskHead) and test.learner.shares_body(test.state):
        return accuracies_with_one_body(test, preprocessing, classifier.body, session)

    def of_task(network: TaskNetwork, pixels: Tensor) -> Session:
        data = format.converted(_of_task(network, classifier), pixels, {})
        return format.session(format.quantized(data, torch.cat([pixels, int8.images])))

    return accuracies_file_by_file(test, preprocessing, of_task)


def _check(found: Accuracies, max_loss: float, deviations: Callable[[], dict[str, float]]) -> None:
    """Logs the accuracies of float and int8. Raises RunFailed if int8 loses more than it may."""
    log.info("%s", found)
    if found.loss > max_loss:
        worst = sorted(deviations().items(), key=lambda item: item[1])[:WORST_LAYERS]
        layers = ", ".join(f"{name} ({ratio:.0f} dB)" for name, ratio in worst)
        raise RunFailed(
            f"int8 loses {found.loss:.1f} points, more than --max-loss={max_loss:g}, so nothing was "
            f"written; the layers with the lowest signal-to-noise ratio: {layers}"
        )
