"""What a few-shot task is: the shapes that every dataset, search space and meta-learner agrees on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["classification", "regression"]
Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class TaskSpec:
    """The interface between a dataset and a network.

    input_shape: (channels, height, width) of an image, or (features,). outputs: the number of classes of an
    episode (way), or of regression targets. train_classes: the number of classes in the meta-training split;
    0 for regression.
    """

    kind: Kind
    input_shape: tuple[int, ...]
    outputs: int
    train_classes: int = 0


class TaskBatch(NamedTuple):
    """T tasks, each with N = way * shot support examples and M = way * query query examples.

    support_x is [T, N, *input_shape] float32, query_x [T, M, *input_shape] float32.

    Classification: support_y [T, N] and query_y [T, M] are int64 in [0, way). classes [T, way] int64 is the
    index within the split of the class that each label stands for. Examples are ordered by class: all shots
    of label 0, then of label 1, and so on.

    Regression: support_y [T, N, outputs] and query_y [T, M, outputs] are float32, and classes is [T, 0].
    """

    support_x: "Tensor"
    support_y: "Tensor"
    query_x: "Tensor"
    query_y: "Tensor"
    classes: "Tensor"
