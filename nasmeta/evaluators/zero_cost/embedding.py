"""How well an untrained body tells classes apart: the accuracy of nearest prototypes of its embeddings.

A network with random weights is a random feature map, and few-shot learning needs little more than features
in which examples of a class lie close together. This is ProtoNet's prediction (Snell et al. 2017, eq. 2,
squared Euclidean distance) before any training, on meta-training tasks. We know of no paper that names and
proposes it. For classification only.
"""

from dataclasses import replace
from statistics import fmean

import torch

from nasmeta.evaluators.zero_cost.untrained import Untrained
from nasmeta.meta_learners.gradients import batch_accuracy
from nasmeta.meta_learners.protonet import ProtoNet
from nasmeta.task import TaskBatch


@torch.no_grad()
def embedding(net: Untrained) -> float:
    """The accuracy of nearest prototypes, a fraction; chance is 1 / way.

    It is a proxy, not the accuracy of a trained network. It is normalized as in training, because an
    untrained network has no population statistics.
    """
    nearest = ProtoNet(
        distance="euclidean",
        learn_temperature=False,
        train_way=None,
        batch_norm=net.learner.batch_norm.in_training,
    )
    return fmean(_accuracy(nearest, net, batch) for batch in net.batches())


def _accuracy(nearest: ProtoNet, net: Untrained, batch: TaskBatch) -> float:
    task = replace(net.state.task, outputs=batch.classes.shape[1])  # training episodes may have another way
    logits = nearest.predict(replace(net.state, task=task), *batch[:3])
    return float(batch_accuracy(logits, batch.query_y).mean())
