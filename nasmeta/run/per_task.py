"""test.pt: how the meta-test went, task by task, and the first task with the chosen network's answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nasmeta.errors import CheckpointError
from nasmeta.training import checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from nasmeta.datasets.decode import Preprocessing
    from nasmeta.task import TaskBatch
    from nasmeta.training.score import Score

SHOTS = 5
"""How many support images of a class are kept."""

SURE = 6
"""How many queries are kept of which the network was most sure, and of which it was least sure."""

MAX_SUPPORT = 1000
"""The most support images that are read."""


@dataclass(frozen=True)
class Episode:
    """A classification task and a network's answers, the surest first.

    support, query: images [n, C, H, W] uint8. support_y, query_y: their classes [n]. probabilities: those of
    the queries [n, classes].
    """

    support: NDArray[np.uint8]
    support_y: NDArray[np.int64]
    query: NDArray[np.uint8]
    query_y: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class PerTask:
    """The accuracies, or for regression the losses, of the chosen network on each test task.

    reference: those of the reference; None if it was not tested. Arrays are [tasks] float64. episode: the
    first task; None if its inputs are not images.
    """

    best: NDArray[np.float64]
    reference: NDArray[np.float64] | None
    episode: Episode | None

    @classmethod
    def load(cls, path: Path) -> "PerTask | None":
        """Reads the file; None if it is missing, damaged, or holds something else."""
        try:
            stored = checkpoint.load(path, inside=path.parent)
        except CheckpointError:
            return None
        best, reference = (_numbers(stored.get(name)) for name in ("best", "reference"))
        return None if best is None else cls(best, reference, _episode(stored.get("episode")))


def save(path: Path, best: "Score", reference: "Score | None", episode: "dict[str, Tensor] | None") -> None:
    """Writes the file in the run directory. `episode` is what `shown` returned, or None."""
    tested = {"best": best.per_task, "reference": reference.per_task if reference else None}
    checkpoint.save(path, {**tested, "episode": episode}, inside=path.parent)


def shown(batch: "TaskBatch", logits: "Tensor", preprocessing: "Preprocessing") -> "dict[str, Tensor]":
    """An Episode's tensors: the first task of a batch, with a network's logits [queries, classes]."""
    probabilities = logits.softmax(-1)
    order = probabilities.amax(-1).argsort(descending=True)
    order = order[[*range(min(SURE, len(order))), *range(max(SURE, len(order) - SURE), len(order))]]
    support_y, query_y = batch.support_y[0], batch.query_y[0]
    kept = [i for i in range(len(support_y)) if (support_y[:i] == support_y[i]).sum() < SHOTS]
    tensors = {
        "support": preprocessing.pixels(batch.support_x[0, kept]),
        "support_y": support_y[kept],
        "query": preprocessing.pixels(batch.query_x[0, order]),
        "query_y": query_y[order],
        "probabilities": probabilities[order].float(),
    }
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _numbers(stored: Any) -> NDArray[np.float64] | None:
    if getattr(stored, "ndim", None) != 1 or not stored.is_floating_point():
        return None
    numbers: NDArray[np.float64] = stored.double().numpy()
    return numbers if len(numbers) and np.isfinite(numbers).all() else None


def _episode(stored: Any) -> Episode | None:
    """The stored tensors as arrays; None if their types or shapes are not those of an Episode."""
    try:
        found = Episode(*(stored[name].numpy() for name in Episode.__dataclass_fields__))
    except (AttributeError, KeyError, TypeError):
        return None
    support, query, answers = found.support, found.query, found.probabilities
    kinds = [array.dtype.name for array in vars(found).values()]
    fits = (
        kinds == ["uint8", "int64", "uint8", "int64", "float32"]
        and support.ndim == query.ndim == 4
        and support.shape[1] == query.shape[1] in (1, 3)
        and 0 < len(support) <= MAX_SUPPORT
        and 0 < len(query) <= 2 * SURE
        and support.size > 0 < query.size
        and found.support_y.shape == support.shape[:1]
        and found.query_y.shape == query.shape[:1]
        and answers.ndim == 2
        and len(answers) == len(query)
        and answers.shape[1] > 0
    )
    return found if fits and np.isfinite(answers).all() else None
