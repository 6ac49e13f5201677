"""The time that a network takes to answer, measured on the device it runs on."""

import statistics
import time
from typing import Any

import torch

from nasmeta.networks.forward_pass import ForwardPass
from nasmeta.networks.layers import adopt, make_plain
from nasmeta.runtime.device import wait
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.task import TaskSpec

WARMUP, REPEATS = 3, 15


def measure_latency(space: SearchSpace[Any], arch: Any, task: TaskSpec, device: torch.device) -> float:
    """The milliseconds of one example's forward pass: the median of 15 passes, after 3 to warm up.

    The network is measured as it is deployed, with fixed moments in its batch norms. Two measurements differ,
    so a run records those it acted on.
    """
    module = space.build(arch, task)
    adopt(module, ForwardPass())
    make_plain(module)
    module = module.to(device).eval()
    x = torch.zeros(1, *task.input_shape, device=device)
    seconds = []
    with torch.inference_mode():
        for _ in range(WARMUP + REPEATS):
            start = time.perf_counter()
            module(x)
            wait(device)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARMUP:])
