"""What a relaxed network keeps for its backward pass: all operations, one sampled (GDAS), partial channels.

    python scripts/bench/relaxed_memory.py [KEY=VALUE ...]

Prints the bytes of the distinct tensors that one forward pass of 25 images saves, and the time of a forward
and backward pass. The first line is the plain reference network of the same space. Bytes are exact, times
are the median of five. Overrides are as for `nasmeta search`.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.run.composition import Composition
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.strategies.differentiable.sampling import Sampling

IMAGES, REPEATS = 25, 5


def saved_bytes(network: nn.Module, x: Tensor) -> int:
    """The bytes of storage that autograd keeps, without those of parameters and input."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()} | {x.untyped_storage().data_ptr()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(x)
    return sum(kept.values())


def seconds(network: nn.Module, x: Tensor) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        network(x).sum().backward()
        times.append(time.process_time() - began)
    return statistics.median(times)


def main() -> None:
    whole = Composition.of(parse(composed(["search_space=nasbench201", *sys.argv[1:]]), trusted=True))
    space, task = whole.space, whole.task
    x = torch.zeros(IMAGES, *task.input_shape)

    def gumbel() -> Any:
        network = space.relaxed(task, Relaxation("all", 1))
        alpha = {n: p for n, p in network.named_parameters() if n in network.architecture_names}
        Sampling("gumbel", 1.0, 1.0, 0).set(network, alpha, 1.0, "memory")
        return network

    kinds: dict[str, Callable[[], nn.Module]] = {
        "plain reference": lambda: space.build(space.reference(), task),
        "softmax": lambda: space.relaxed(task, Relaxation("all", 1)),
        "gumbel": gumbel,
        "partial channels, K=4": lambda: space.relaxed(task, Relaxation("edges", 4)),
    }
    for name, make in kinds.items():
        network = make()
        print(f"{name:22} {saved_bytes(network, x) / 2**20:8.1f} MiB {1000 * seconds(network, x):8.1f} ms")


if __name__ == "__main__":
    main()
