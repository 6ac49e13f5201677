"""Exports the embedding network and the classes' prototypes apart, to learn classes on a device.

`few_shot.h` is C that adds a class from embeddings and classifies; `classes.h` holds prototypes for it.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nasmeta.config.shipped import option_of
from nasmeta.errors import ConfigError
from nasmeta.meta_learners.protonet import ProtoNet
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.trained.export.export import Int8, write
from nasmeta.trained.export.format import Format

ROOM = 16
"""How many classes `classes.h` has room for, unless more are known."""

log = logging.getLogger(__name__)

FEW_SHOT = Path(__file__).with_name("few_shot.h")


@dataclass(frozen=True)
class Prototypes:
    """What few_shot.h knows; its struct says what the numbers are.

    means: [classes, features]; examples: how many each is the mean of; both in the order of `names`.
    """

    names: tuple[str, ...]
    means: NDArray[np.float32]
    examples: tuple[int, ...]
    scale: float
    zero: int
    sharpness: float
    scatter: float | None
    cosine: bool
    threshold: float | None

    def header(self) -> str:
        """The text of `classes.h`."""
        features, room = self.means.shape[1], max(ROOM, len(self.names))
        rows = "".join(f"    {{{', '.join(f'{x:.8e}f' for x in row)}}},\n" for row in self.means.tolist())
        examples = ", ".join(map(str, self.examples))
        names = ", ".join(f'"{_escaped(name)}"' for name in self.names)
        sharpness = f"{_number(self.sharpness)}, {_number(self.scatter or 0)}"
        numbers = f"{_number(self.scale)}, {self.zero}, {sharpness}"
        return (
            '#include "few_shot.h"\n\n'
            f"#define FEW_SHOT_FEATURES {features} /* numbers of an embedding */\n\n"
            f"static const char *class_names[{room}] = {{{names or 0}}};\n\n"
            f"static float class_prototypes[{room}][{features}] = {{\n{rows or '    {0}'}}};\n\n"
            f"static int class_examples[{room}] = {{{examples or 0}}};\n\n"
            f"static few_shot classes = {{{features}, {room}, {len(self.names)}, &class_prototypes[0][0], "
            f"class_examples,\n                           {numbers}, {int(self.cosine)}, "
            f"{_number(self.threshold or 0)}}};\n"
        )


def check_parts(classifier: FewShotClassifier) -> None:
    """Raises ConfigError unless the classes of the learner are prototypes of one embedding network."""
    learner = classifier.learner
    if not isinstance(learner, ProtoNet):
        name = option_of("meta_learner", learner)
        raise ConfigError(f"--parts: {name} has no prototypes; meta-learn with meta_learner=protonet")
    if learner.cosine:
        log.warning(
            "classes.h tells no unknown classes: meta_learner.distance=cosine has no prototypes for that"
        )
    _ = classifier.body  # raises if it depends on the task


def write_parts(
    classifier: FewShotClassifier,
    folder: Path,
    format: Format,
    support: Mapping[str, Sequence[Path]],
    int8: Int8 | None,
) -> None:
    """Makes `folder` with the embedding network, few_shot.h, and classes.h for the classes of `support`.

    The prototypes are means of embeddings that the exported file gives. If it raises, which it does as
    `write`, the folder does not exist.
    """
    check_parts(classifier)
    learner = classifier.learner
    assert isinstance(learner, ProtoNet)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        made = Path(work, folder.name)
        made.mkdir()
        file = made / f"embedding{format.suffix}"
        session = write(classifier, file, format, int8=int8, embedding=True)
        size, channels = classifier.preprocessing.size, classifier.preprocessing.channels
        blank = torch.zeros(1, channels, size, size, dtype=torch.uint8)
        means = [session(classifier.pixels(images))[-1].mean(0) for images in support.values()]
        known = Prototypes(
            tuple(support),
            np.array(means, np.float32).reshape(-1, session(blank)[-1].shape[1]),
            tuple(map(len, support.values())),
            *format.scale(file.read_bytes()),
            sharpness=float(learner.sharpness(classifier.state)) / classifier.calibration.temperature,
            scatter=classifier.calibration.scatter,
            cosine=learner.cosine,
            # The threshold is for means of embeddings of length one; the prototypes here are of raw ones.
            threshold=None if learner.cosine else classifier.calibration.threshold,
        )
        (made / "classes.h").write_text(known.header())
        (made / "few_shot.h").write_text(FEW_SHOT.read_text())
        made.rename(folder)


def _number(value: float) -> str:
    return f"{value:.8e}f"


def _escaped(name: str) -> str:
    """The text inside a C string; bytes that are not plain characters are octal."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in name.encode(errors="replace"))
