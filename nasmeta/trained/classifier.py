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
from nasmeta.datasets.part import PartOfDataset
from nasmeta.datasets.pictures import Picture, pictures, source
from nasmeta.errors import CheckpointError, ConfigError, DataError
from nasmeta.meta_learners.base import MetaLearner, MetaState
from nasmeta.meta_learners.task_architecture import architecture_names
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.run.composition import Composition
from nasmeta.trained.trained_network import Trained, restore

Pictures = Picture | Iterable[Picture]
"""One, or several in any order but a set's; see `datasets.pictures`."""

Label = str | int | float

T = TypeVar("T")

AT_ONCE = 256
"""Images that are decoded and answered together, so that a folder of any size fits in memory."""

ONE_TASK = ("precision=fp32", "compile=false", "task_parallel=loop", "task_chunk=null", "cuda_graphs=false")
"""How one task is computed, whatever the machine that trained was told."""


class FewShotClassifier:
    """Adapts to labelled images with `fit`, then labels others with `predict`.

    arch: the architecture's string. provisional: whether it is a search's candidate, not trained in full.
    classes: the labels, sorted, once it is fitted. Under
    `batch_norm: support` or `running` each image is answered by itself; under `transductive` an answer
    depends on the images it is asked with.
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
        """The classifier of a best.pt, or of the run directory that holds it; its dataset is not needed.

        `trusted` lets the checkpoint name code outside nasmeta. Raises CheckpointError where it is damaged
        or was not meta-learned on images, ConfigError where the device is not there.
        """
        trained = Trained.load(Path(path), trusted=trusted)
        if trained.preprocessing is None:
            raise CheckpointError(
                f"{trained.path}: was meta-learned on {trained.task.kind} tasks that are no image files; a "
                "classifier needs dataset=image_folder, omniglot or strokes"
            )
        config = trained.configured([f"device={device}", *ONE_TASK])
        composition = Composition.of(config, PartOfDataset(trained.task))
        state = restore(trained, composition)
        trained.warn_if_provisional()
        classifier = cls(composition.learner, state, trained.preprocessing, trained.saved["arch"])
        classifier.provisional = trained.provisional
        return classifier

    def fit(self, images: Pictures, labels: Iterable[Label]) -> Self:
        """Adapts to labelled images, one or more of each of two or more classes; forgets earlier ones.

        `labels` are text or numbers, a list, array or tensor of as many as there are images. Raises DataError
        if an image or a label cannot be read, or the learner cannot tell so many classes apart; what was
        fitted before then stays.
        """
        given, named = pictures(images), _labels(labels)
        if len(given) != len(named):
            raise DataError(f"fit: {len(given)} images and {len(named)} labels; one label an image")
        classes = tuple(sorted(set(named), key=lambda label: (str(type(label)), label)))
        if len(classes) < 2:
            raise DataError(f"fit: {len(classes)} classes leave nothing to tell apart; at least 2")
        places = {label: place for place, label in enumerate(classes)}
        order = sorted(range(len(named)), key=lambda i: places[named[i]])  # as TaskBatch has them
        targets = torch.tensor([places[named[i]] for i in order], device=self._device)
        inputs = self._inputs(given)[torch.tensor(order, device=self._device)]
        self._set_ways(len(classes))
        self._support, self.classes, self._network = (inputs, targets), classes, None
        return self

    def predict(self, images: Pictures) -> list[Any]:
        """The most probable class of each image; a list of one if it is a single one."""
        return [self.classes[i] for i in self.predict_proba(images).argmax(1)]

    def predict_proba(self, images: Pictures) -> NDArray[np.float32]:
        """The probabilities [images, classes] of `classes`, in their order. Raises DataError as `fit`."""
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
        """`images` in parts of which each is decoded and answered together."""
        size = len(images) if self.transductive else AT_ONCE
        return (images[start : start + size] for start in range(0, len(images), max(size, 1)))

    def pixels(self, images: Pictures, first: int = 0) -> Tensor:
        """[n, C, H, W] uint8 on the CPU: what a network sees of images, before it is normalized.

        In errors they are numbered from `first`.
        """
        sources = [source(image, number) for number, image in enumerate(pictures(images), first)]
        return self.preprocessing.read(sources, first)

    @property
    def network(self) -> TaskNetwork:
        """The adapted network: normalized images [n, C, H, W] -> logits [n, classes].

        Raises ConfigError under `transductive`.
        """
        if self._network is None:
            full = self.learner.solve(self._state, *self._fitted())
            ways = len(self.classes)
            head = full.head.weight[:ways], full.head.bias[:ways]
            self._network = TaskNetwork(full.body, *head, cosine=full.cosine)
        return self._network

    @property
    def body(self) -> nn.Module:
        """The embedding network as it was meta-learned: normalized images -> [n, features].

        Raises ConfigError where it is normalized by a support set, or is another for every task.
        """
        network = self._state.network
        if architecture_names(self._state):
            raise ConfigError(
                f"{self.arch}: has an architecture for every task, so fit it to one (--support)"
            )
        if network.norms and self.learner.batch_norm != "running":
            raise ConfigError(
                f"batch_norm: {self.learner.batch_norm} normalizes by the images of a task, so fit it to one "
                "(--support), or meta-learn with batch_norm=running"
            )
        return network.plain_body(self._state.parameters, self._state.statistics).eval().requires_grad_(False)

    def _fitted(self) -> tuple[Tensor, Tensor]:
        if self._support is None:
            raise DataError("the classifier knows no classes yet; call fit(images, labels) first")
        return self._support

    def _set_ways(self, ways: int) -> None:
        """Where the head is meta-learned, fewer classes than it has outputs leave some of them unused."""
        try:
            self._state = self.learner.for_ways(self._state, ways)
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
        """Whether an answer depends on the images it is asked with."""
        return self.learner.batch_norm == "transductive" and bool(self._state.network.norms)

    def _inputs(self, images: Sequence[Picture], first: int = 0) -> Tensor:
        return self.preprocessing.normalize(self.pixels(images, first).to(self._device))


def _labels(labels: Iterable[Label]) -> list[Label]:
    """The labels as plain text and numbers. Raises DataError for what is none, and for what has no order."""
    values: Any = labels.tolist() if hasattr(labels, "tolist") else labels
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise DataError(f"labels: got {reprlib.repr(values)}; pass a list with a label for each image")
    return [_label(value, number) for number, value in enumerate(values)]


def _label(value: Any, number: int) -> Label:
    if getattr(value, "shape", None) == ():  # a number of NumPy's or torch's
        value = value.item()
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise DataError(f"label {number}: got {reprlib.repr(value)}; a label is text or a finite number")
