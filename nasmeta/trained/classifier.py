"""A meta-learned network as a classifier of new classes: a handful of images in, labels out.

classifier = FewShotClassifier("outputs/2026-11-26/10-00-00")
classifier.fit(["cat1.jpg", "cat2.jpg", "dog1.jpg"], ["cat", "cat", "dog"])
classifier.predict(["who.jpg"])

It is an estimator of scikit-learn, which need not be installed.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasmeta.config.shipped import option_of
from nasmeta.datasets.decode import Preprocessing
from nasmeta.datasets.pictures import Picture, pictures, sources
from nasmeta.errors import ConfigError, DataError
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.meta_learners.task_architecture import architecture_names
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.trained.labels import Label, as_array, as_labels
from nasmeta.trained.meta_learned import MetaLearned
from nasmeta.trained.ready import checkpoint_path
from nasmeta.training.calibration import Calibration
from nasmeta.training.trained_network import TrainedNetwork
from nasmeta.training.unknown import Prototypes

Pictures = Picture | Iterable[Picture]
"""One picture, or several in an ordered collection; see `datasets.pictures`."""

T = TypeVar("T")

AT_ONCE = 256
"""How many images are decoded and labelled together, so that a folder of any size fits in memory."""


class FewShotClassifier:
    """Adapts to labelled images with `fit`, then labels others with `predict`.

    checkpoint: a best.pt, the directory of its run, or the name of a ready checkpoint; it is read when it is
    needed first. device: auto, cpu, cuda, cuda:N or mps. trusted: whether it may name code outside nasmeta.
    unknown: the label of images that belong to no class; None: every image gets one of the classes.
    `classes_` are the labels, sorted, once it is fitted.

    With `batch_norm: support` or `running`, the answer for an image depends on that image alone. With
    `transductive`, it also depends on the other images of the same call.
    """

    classes_: NDArray[Any]

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        device: str = "auto",
        trusted: bool = False,
        unknown: Label | None = None,
    ) -> None:
        self.checkpoint, self.device, self.trusted, self.unknown = checkpoint, device, trusted, unknown
        self._support: tuple[Tensor, Tensor] | None = None
        self._network: TaskNetwork | None = None
        self._prototypes: Prototypes | None = None

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "auto", trusted: bool = False, unknown: Label | None = None
    ) -> Self:
        """The same as the constructor, except that the checkpoint is read at once.

        The dataset that it was trained on is not needed. Raises CheckpointError if the checkpoint is damaged
        or was not meta-learned on images, and ConfigError if this machine has no such device.
        """
        classifier = cls(path, device=device, trusted=trusted, unknown=unknown)
        _ = classifier._meta_learned
        return classifier

    @classmethod
    def of(cls, network: TrainedNetwork, learner: MetaLearner, state: MetaState) -> Self:
        """The classifier of a loaded network, used by this learner. Raises CheckpointError as `load`."""
        classifier = cls(network.path)
        classifier._meta_learned = MetaLearned.of(network, learner, state)
        return classifier

    @cached_property
    def _meta_learned(self) -> MetaLearned:
        given = self.checkpoint
        path = checkpoint_path(given) if isinstance(given, str) else given
        return MetaLearned.load(path, device=self.device, trusted=self.trusted)

    @property
    def learner(self) -> MetaLearner:
        """What adapts the network to a task."""
        return self._meta_learned.learner

    @property
    def state(self) -> MetaState:
        """What was meta-learned."""
        return self._meta_learned.state

    @property
    def arch(self) -> str:
        """The architecture's string."""
        return self._meta_learned.arch

    @property
    def provisional(self) -> bool:
        """Whether the network is a candidate of a search that was not trained in full."""
        return self._meta_learned.provisional

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes what the network sees."""
        return self._meta_learned.preprocessing

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments; `deep` makes no difference."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Changes arguments of the constructor, and forgets what was fitted. Returns itself."""
        changed = type(self)(**{**self.get_params(), **params})
        vars(self).clear()
        vars(self).update(vars(changed))
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return self._support is not None

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn has to know of an estimator; only scikit-learn calls this."""
        tags = import_module("sklearn.utils")
        return tags.Tags(
            estimator_type="classifier",
            target_tags=tags.TargetTags(required=True),
            classifier_tags=tags.ClassifierTags(),
            input_tags=tags.InputTags(two_d_array=False, three_d_array=True, string=True),
        )

    def fit(self, images: Pictures, labels: Iterable[Label]) -> Self:
        """Adapts to labelled images of two or more classes, and forgets earlier ones. Returns itself.

        `labels` is a list, array or tensor of text or numbers, one for each image. Raises DataError if an
        image or a label cannot be read, or if the learner cannot tell so many classes apart. The classifier
        then stays as it was.
        """
        given, named = pictures(images), as_labels(labels)
        if len(given) != len(named):
            raise DataError(
                f"fit: {len(given)} images and {len(named)} labels; give one label for each image"
            )
        classes = sorted(set(named), key=lambda label: (str(type(label)), label))
        self._check_unknown(classes)
        if len(classes) < 2:
            raise DataError(f"fit: labels of {len(classes)} class; a classifier needs at least 2")
        places = {label: place for place, label in enumerate(classes)}
        order = sorted(range(len(named)), key=lambda i: places[named[i]])  # a TaskBatch is sorted by class
        targets = torch.tensor([places[named[i]] for i in order], device=self.state.device)
        inputs = self._inputs(given)[torch.tensor(order, device=self.state.device)]
        self._state = self._with_ways(len(classes))
        self.classes_ = as_array(classes)
        self._support, self._network, self._prototypes = (inputs, targets), None, None
        return self

    def _check_unknown(self, classes: Sequence[Label]) -> None:
        if self.unknown is None:
            return
        if self.unknown in classes:
            raise DataError(f"unknown={self.unknown!r}: is a class too; choose another label")
        if self.threshold is None:
            raise ConfigError(
                f"{self.checkpoint}: has no threshold for unknown images: it is provisional, or batch_norm "
                "is transductive; train it in full, with batch_norm=running or support"
            )

    def predict(self, images: Pictures) -> NDArray[Any]:
        """The most probable class of each image [images], or `unknown`. Raises DataError."""
        probabilities, outside = self.judge(images)
        classes: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        if self.unknown is None:
            return classes
        return as_array(
            [self.unknown if out else label for label, out in zip(classes.tolist(), outside, strict=True)]
        )

    def score(self, images: Pictures, labels: Iterable[Label], sample_weight: Any = None) -> float:
        """The accuracy on labelled images, a fraction. `sample_weight` is a weight for each image.

        Raises DataError as `fit` does.
        """
        named, given = as_labels(labels), self.predict(images).tolist()
        if len(given) != len(named):
            raise DataError(
                f"score: {len(given)} images and {len(named)} labels; give one label for each image"
            )
        right = [a == b for a, b in zip(given, named, strict=True)]
        return float(np.average(right, weights=sample_weight))

    def predict_proba(self, images: Pictures) -> NDArray[np.float32]:
        """Probabilities [images, classes], in the order of `classes_`. Raises DataError as `fit` does."""
        return self.judge(images)[0]

    def judge(self, images: Pictures) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Probabilities [images, classes], and whether each image is too far from all classes [images].

        Without a threshold in the checkpoint, no image is too far. Raises DataError as `fit` does.
        """
        support_x, support_y = self._fitted()
        threshold = self.threshold
        answers = [np.empty((0, len(self.classes_)), np.float32)]
        outside = [np.empty(0, np.bool_)]
        first = 0
        for part in self.parts(pictures(images)):
            inputs = self._inputs(part, first)
            if self.transductive:
                batch = (support_x[None], support_y[None], inputs[None])
                logits = self.learner.predict(self._state, *batch)[0, :, : len(self.classes_)]
                logits = logits / self.temperature
            else:
                embeddings = self.network.embed(inputs)
                logits = self.network.head(embeddings)
            far = torch.zeros(len(part), dtype=torch.bool)
            if threshold is not None and not self.transductive:
                far = self.prototypes.distances(embeddings).amin(1) > threshold
            answers.append(logits.softmax(-1).cpu().numpy())
            outside.append(far.cpu().numpy())
            first += len(part)
        return np.concatenate(answers), np.concatenate(outside)

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
        """The adapted network: normalized images [n, C, H, W] -> logits [n, classes], calibrated.

        The checkpoint's temperature is part of its head, so a softmax gives the probabilities of `predict`.
        Raises ConfigError if `batch_norm` is `transductive`.
        """
        if self._network is None:
            full = self.learner.adapt(self._state, *self._fitted())
            ways = len(self.classes_)
            head = (each[:ways] / self.temperature for each in (full.head.weight, full.head.bias))
            self._network = TaskNetwork(full.body, *head, cosine=full.cosine)
        return self._network

    @property
    def prototypes(self) -> Prototypes:
        """The classes in the embedding of `network`. Raises ConfigError as that does."""
        if self._prototypes is None:
            support_x, support_y = self._fitted()
            self._prototypes = Prototypes.of(self.network.embed(support_x), support_y)
        return self._prototypes

    @property
    def body(self) -> nn.Module:
        """The embedding network as it was meta-learned: normalized images [n, C, H, W] -> [n, features].

        Raises ConfigError if it is normalized by a support set, or if its architecture depends on the task.
        """
        state, network = self.state, self.state.network
        if architecture_names(state):
            raise ConfigError(
                f"{self.arch}: takes another architecture for every task, so fit it to one (--support)"
            )
        if network.norms and not self.learner.batch_norm.needs_population:
            raise ConfigError(
                f"batch_norm: {self.learner.batch_norm.value} normalizes by the images of a task, so fit it "
                "to one (--support), or meta-learn with batch_norm=running"
            )
        return network.plain_body(state.parameters, state.statistics).eval().requires_grad_(False)

    @property
    def calibration(self) -> Calibration:
        """What was fitted to the network on meta-validation tasks."""
        return self._meta_learned.calibration

    @property
    def threshold(self) -> float | None:
        """The distance beyond which an image belongs to no class; None if it was not calibrated."""
        return self.calibration.threshold

    @property
    def temperature(self) -> float:
        """What the logits are divided by, for as many examples as the classes have; before `fit`, for one."""
        scatter = 2.0 if self._support is None else float((1 + 1 / self._support[1].bincount()).mean())
        return self.calibration.temperature_at(scatter)

    def _fitted(self) -> tuple[Tensor, Tensor]:
        if self._support is None:
            raise DataError("the classifier knows no classes yet; call fit(images, labels) first")
        return self._support

    def _with_ways(self, ways: int) -> MetaState:
        """The state with a head for `ways` classes. Further outputs of a meta-learned head stay unused."""
        learner, state = self.learner, self.state
        try:
            return learner.with_num_classes(state, ways)
        except ConfigError as error:
            outputs = state.task.outputs
            if ways > outputs:
                name = option_of("meta_learner", learner)
                raise DataError(
                    f"{ways} classes: {name} meta-learned a head for {outputs}; "
                    f"use at most {outputs} classes, or a network meta-learned with meta_learner=protonet, "
                    f"ridge or finetune, or task.way={ways}"
                ) from error
            return state

    @property
    def transductive(self) -> bool:
        """Whether the answer for an image depends on the other images of the same call."""
        return self.learner.depends_on_companions(self.state)

    def _inputs(self, images: Sequence[Picture], first: int = 0) -> Tensor:
        return self.preprocessing.normalize(self.pixels(images, first).to(self.state.device))
