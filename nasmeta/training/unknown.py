"""Queries that belong to no class of their task are told by their distance to the nearest prototype.

A prototype is the mean embedding of a class's support images. Both a query and the mean of n shots scatter
around the centre of their class, so the expected squared distance between them is 1 + 1/n times the scatter
of the class. Distances are divided by that. A query is taken for unknown if it is farther from every
prototype than all but RATE of the queries of meta-validation tasks are from the prototype of their own class.
So one threshold serves any number of classes and shots: whatever they are, about RATE of the queries of a
class are refused, and fewer the more classes there are, because the nearest prototype may be another's.

The highest probability says far less, since it compares a query's classes with each other only. Area under
the ROC curve, 5-way 1-shot and 5-shot, of queries of unseen classes (2026-11-27, networks of 100 and 300
meta-training tasks, one seed): on icons distance 0.79 and 0.86, energy 0.79 and 0.83, highest probability
0.68 and 0.72; on omniglot-small 0.78 and 0.86, 0.77 and 0.82, 0.59 and 0.68.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.task import TaskBatch

RATE = 0.1
"""The share of a class's queries that may be taken for unknown."""


@dataclass(frozen=True)
class Prototypes:
    """The classes of a task.

    means [ways, features]: each class's mean embedding. scatter [ways]: 1 + 1/n for a class of n shots.
    """

    means: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, embeddings: Tensor, labels: Tensor) -> "Prototypes":
        """The prototypes of support embeddings [n, features] with labels [n]; every class has some."""
        member = F.one_hot(labels).to(embeddings.dtype)  # [n, ways]
        shots = member.sum(0)
        return cls(member.mT @ embeddings / shots[:, None], 1 + 1 / shots)

    def distances(self, embeddings: Tensor) -> Tensor:
        """How far queries [n, features] are from each class, [n, ways]: squared, divided by the scatter."""
        return (embeddings.unsqueeze(1) - self.means).square().sum(-1) / self.scatter


@dataclass(frozen=True)
class Distances:
    """Distances of the queries of some tasks.

    own, nearest [n]: to the prototype of the query's class, and to the nearest one. foreign [m]: of
    queries of classes that are not in the task, to the nearest one.
    """

    own: Tensor
    nearest: Tensor
    foreign: Tensor

    @property
    def threshold(self) -> float:
        """The distance beyond which RATE of the queries are from their own class."""
        return float(self.own.quantile(1 - RATE))

    def errors(self, threshold: float) -> tuple[float, float | None]:
        """The shares of false rejects and of false accepts; the latter is None without foreign queries."""
        rejects = float((self.nearest > threshold).double().mean())
        accepts = float((self.foreign <= threshold).double().mean()) if len(self.foreign) else None
        return rejects, accepts


def measure(learner: MetaLearner, state: MetaState, batches: Iterable[TaskBatch]) -> Distances | None:
    """Adapts to each task, and measures its queries; None if no network answers a query alone.

    The foreign queries of a task are those of the task before it, if their class is not in both.
    """
    if learner.depends_on_companions(state):
        return None
    own, nearest, foreign = [], [], []
    for batch in batches:
        for number, (support_x, support_y, query_x, query_y, classes) in enumerate(zip(*batch, strict=True)):
            network = learner.adapt(state, support_x, support_y)
            their_classes = batch.classes[number - 1][batch.query_y[number - 1]]
            others_x = batch.query_x[number - 1][~torch.isin(their_classes, classes)]
            with torch.no_grad():
                prototypes = Prototypes.of(network.embed(support_x), support_y)
                distances = prototypes.distances(network.embed(query_x))
                outside = prototypes.distances(network.embed(others_x))
            own.append(distances.gather(1, query_y[:, None])[:, 0])
            nearest.append(distances.amin(1))
            foreign.append(outside.amin(1))
    return Distances(*(torch.cat(each).cpu().double() for each in (own, nearest, foreign)))
