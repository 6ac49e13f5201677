"""The rows of scripts/benchmark_peers by nasmeta, with the same network, tensors and steps as peer_loops.py.

There are two differences. A meta-batch of ProtoNet is one outer step, while the peers make an Adam step for
each episode (as nasmeta does if the row is `single`). Convolutions before a batch norm have no bias, which
changes no output.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import peer_loops
import torch

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.networks.execution import Execution
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.runtime.allocator import keep_pages
from nasmeta.runtime.device import pick
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.training.cuda_graphs import recorded_meta_gradient, recorded_predict
from nasmeta.training.optimizers import descend

LEARNERS = {
    ("maml", 2): "maml",
    ("maml", 1): "fomaml",
    ("evaluation", 1): "fomaml",
    ("reptile", 1): "reptile",
    ("protonet", 1): "protonet",
}


def job(row: dict[str, Any]) -> Callable[[], object]:
    name = LEARNERS[row["algorithm"], row["order"]]
    steps = [f"meta_learner.{key}_steps={row['steps']}" for key in ("train", "test")]
    options = [] if name == "protonet" else steps
    if name in ("maml", "fomaml"):
        options += ["meta_learner.learn_inner_lr=false"]  # as the peers have it
    if name == "reptile":
        options += ["meta_learner.inner_batch=10"]
    config = parse(composed([f"meta_learner={name}", *options]), trusted=True)
    learner = config.build("meta_learner", batch_norm=BatchNormPolicy(row["batch_norm"]))
    space = config.build("search_space")
    arch = space.parse(str(space.reference()).replace("-64", f"-{row['width']}"))
    task = TaskSpec("classification", (1, 28, 28), peer_loops.WAY, peer_loops.WAY)
    torch.manual_seed(0)
    device = pick(row["device"], "auto")
    module = space.build(arch, task)
    state = learner.init(module, task).to(device)
    execution = Execution(row["task_parallel"], precision="auto", cuda_graphs="auto", kernels="auto")
    state.network.execution = execution.resolved(module, device)
    optimizer = config.build("optimizer").make(list(state.parameters.values()))
    drawn = peer_loops.tasks(row["tasks"], row["device"])
    support_x, query_x = (_channels_last(drawn[i]) for i in (0, 2))
    classes = torch.arange(peer_loops.WAY, device=device).repeat(row["tasks"], 1)
    batch = TaskBatch(support_x, drawn[1], query_x, drawn[3], classes)
    if row["algorithm"] == "evaluation":
        predict = recorded_predict(learner, state)
        return lambda: predict(batch[:3])
    size = 1 if row["single"] else row["tasks"]
    pieces = [TaskBatch(*(part[i : i + size] for part in batch)) for i in range(0, row["tasks"], size)]

    meta_gradient = recorded_meta_gradient(learner, state)

    def iteration() -> None:
        for piece in pieces:
            gradients, _ = meta_gradient(piece)
            descend(state.parameters, gradients, optimizer)

    return iteration


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    """Images as nasmeta's samplers give them: channels_last in memory, also in the stride of one channel."""
    tasks, examples, channels, height, width = images.shape
    return images.new_empty(tasks, examples, height, width, channels).movedim(-1, 2).copy_(images)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    keep_pages()
    torch.set_num_threads(asked["threads"])
    print(json.dumps(peer_loops.measured(job(asked), asked)))
