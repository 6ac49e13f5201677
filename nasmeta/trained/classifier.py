"""A meta-learned network as a classifier of new classes: a handful of images in, labels out.

classifier = FewShotClassifier.load("outputs/2026-11-26/10-00-00")
classifier.fit(["cat1.jpg", "cat2.jpg", "dog1.jpg"], ["cat", "cat", "dog"])
classifier.predict(["who.jpg"])
"""

import math
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasmeta.datasets.decode import Preprocessing
from nasmeta.datasets.pictures import Picture, pictures, sources
from nasmeta.errors import CheckpointError, ConfigError, DataError
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.meta_learners.task_architecture import architecture_names
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.runtime.device import pick
from nasmeta.trained.checkpoint import load_network, warn_if_provisional

Pictures = Picture | Iterable[Picture]
"""One picture, or several in an ordered collection; see `datasets.pictures`."""

Label = str | int | float

T = TypeVar("T")

AT_ONCE = 256
"""How many images are decoded and labelled together, so that a folder of any size fits in memory."""


class FewShotClassifier:
    """Adapts to labelled images with `fit`, then labels others with `predict`.

    arch: the architecture's string. provisional: whether the network is a candidate of a search that was not
    trained in full. classes: the labels, sorted; empty before `fit`.

    With `batch_norm: support` or `running`, the answer for an image depends on that image alone. With
    `transductive`, it also depends on the other images of the same call.
    """

    def __init__(
        self, learner: MetaLearner, state: MetaState, preprocessing: Preprocessing, arch: str
    ) -> None:
        self.learner, self.preprocessing, self.arch = learner, preprocessing, arch
        self._state = state
        self.provisional = False
        self.classes: tuple[Any, ...] = ()
        self._support: tuple[Tensor, Tensor] | None = None
        self._network: TaskNetwork | None = None

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", trusted: bool = False) -> Self:
        """Loads a best.pt, or that of a run directory. The dataset that it was trained on is not needed.

        device: auto, cpu, cuda, cuda:N or mps. `trusted` lets the checkpoint name code outside nasmeta.
        Raises CheckpointError if the checkpoint is damaged or was not meta-learned on images, and ConfigError
        if this machine has no such device.
        """
        network = load_network(Path(path), trusted=trusted)
        if network.preprocessing is None:
            raise CheckpointError(
                f"{network.path}: was meta-learned on {network.task.kind} tasks without image files; a "
                "classifier needs dataset=image_folder, omniglot or strokes"
            )
        state = network.state(pick(device, tf32=False))
        if network.learner.lacks_population(state):
            raise CheckpointError(
                f"{network.path}: has no statistics for batch_norm=running; train it with that policy"
            )
        warn_if_provisional(network)
        classifier = cls(network.learner, state, network.preprocessing, network.arch)
        classifier.provisional = network.provisional
        return classifier

    def fit(self, images: Pictures, labels: Iterable[Label]) -> Self:
        """Adapts to labelled images of two or more classes, and forgets earlier ones. Returns itself.

        `labels` is a list, array or tensor of text or numbers, one for each image. Raises DataError if an
        image or a label cannot be read, or if the learner cannot tell so many classes apart. The classifier
        then stays as it was.
        """
        given, named = pictures(images), _labels(labels)
        if len(given) != len(named):
            raise DataError(
                f"fit: {len(given)} images and {len(named)} labels; give one label for each image"
            )
        classes = tuple(sorted(set(named), key=lambda label: (str(type(label)), label)))
        if len(classes) < 2:
            raise DataError(f"fit: labels of {len(classes)} class; a classifier needs at least 2")
        places = {label: place for place, label in enumerate(classes)}
        order = sorted(range(len(named)), key=lambda i: places[named[i]])  # a TaskBatch is sorted by class
        targets = torch.tensor([places[named[i]] for i in order], device=self._device)
        inputs = self._inputs(given)[torch.tensor(order, device=self._device)]
        self._set_ways(len(classes))
        self._support, self.classes, self._network = (inputs, targets), classes, None
        return self

    def predict(self, images: Pictures) -> list[Any]:
        """The most probable class of each image; for a single image, a list of one. Raises DataError."""
        return [self.classes[i] for i in self.predict_proba(images).argmax(1)]

    def predict_proba(self, images: Pictures) -> NDArray[np.float32]:
        """Probabilities [images, classes], in the order of `classes`. Raises DataError as `fit` does."""
        support_x, support_y = self._fitted()
        answers = [np.empty((0, len(self.classes)), np.float32)]
        first = 0
        for part in self.parts(pictures(images)):
            inputs = self._inputs(part, first)
            if self.transductive:
                batch = (support_x[None], support_y[None], inputs[None])
                logits = self.learner.predict(self._state, *batch)[0, :, : len(self.classes)]
            else:
                logits = self.network(inputs)
            answers.append(logits.softmax(-1).cpu().numpy())
            first += len(part)
        return np.concatenate(answers)

    def parts(self, images: Sequence[T]) -> Iterator[Sequence[T]]:
        """Splits `images` into parts that are decoded and labelled together."""
        size = len(images) if self.transductive else AT_ONCE
        return (images[start : start + size] for start in range(0, len(images), max(size, 1)))

    def pixels(self, images: Pictures, first: int = 0) -> Tensor:
        """The images as the network sees them before they are normalized: [n, C, H, W] uint8 on the CPU.

        Errors number the images from `first`.
        """
        return self.preprocessing.read(*sources(pictures(images), first))

    @property
    def network(self) -> TaskNetwork:
        """The adapted network: normalized images [n, C, H, W] -> logits [n, classes].

        Raises ConfigError if `batch_norm` is `transductive`.
        """
        if self._network is None:
            full = self.learner.adapt(self._state, *self._fitted())
            ways = len(self.classes)
            head = full.head.weight[:ways], full.head.bias[:ways]
            self._network = TaskNetwork(full.body, *head, cosine=full.cosine)
        return self._network

    @property
    def body(self) -> nn.Module:
        """The embedding network as it was meta-learned: normalized images [n, C, H, W] -> [n, features].

        Raises ConfigError if it is normalized by a support set, or if its architecture depends on the task.
        """
        network = self._state.network
        if architecture_names(self._state):
            raise ConfigError(
                f"{self.arch}: takes another architecture for every task, so fit it to one (--support)"
            )
        if network.norms and not self.learner.batch_norm.needs_population:
            raise ConfigError(
                f"batch_norm: {self.learner.batch_norm.value} normalizes by the images of a task, so fit it "
                "to one (--support), or meta-learn with batch_norm=running"
            )
        return network.plain_body(self._state.parameters, self._state.statistics).eval().requires_grad_(False)

    def _fitted(self) -> tuple[Tensor, Tensor]:
        if self._support is None:
            raise DataError("the classifier knows no classes yet; call fit(images, labels) first")
        return self._support

    def _set_ways(self, ways: int) -> None:
        """Fits the head to `ways` classes. A meta-learned head with more outputs leaves some unused."""
        try:
            self._state = self.learner.with_num_classes(self._state, ways)
        except ConfigError as error:
            outputs = self._state.task.outputs
            if ways > outputs:
                raise DataError(
                    f"{ways} classes: {type(self.learner).__name__} meta-learned a head for {outputs}; "
                    f"use at most {outputs} classes, or a network meta-learned with meta_learner=protonet, "
                    f"ridge or finetune, or task.way={ways}"
                ) from error

    @property
    def _device(self) -> torch.device:
        return next(iter(self._state.parameters.values())).device

    @property
    def transductive(self) -> bool:
        """Whether the answer for an image depends on the other images of the same call."""
        return self.learner.batch_norm.depends_on_companions and bool(self._state.network.norms)

    def _inputs(self, images: Sequence[Picture], first: int = 0) -> Tensor:
        return self.preprocessing.normalize(self.pixels(images, first).to(self._device))


def _labels(labels: Iterable[Label]) -> list[Label]:
    """The labels as plain text and numbers. Raises DataError if they are something else, or have no order."""
    values: Any = labels.tolist() if hasattr(labels, "tolist") else labels
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise DataError(f"labels: got {reprlib.repr(values)}; pass a list with a label for each image")
    return [_label(value, number) for number, value in enumerate(values)]


def _label(value: Any, number: int) -> Label:
    if getattr(value, "shape", None) == ():  # a scalar of NumPy or torch
        value = value.item()
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise DataError(f"label {number}: got {reprlib.repr(value)}; a label is text or a finite number")
