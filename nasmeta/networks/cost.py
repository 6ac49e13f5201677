"""A network's cost: parameters, floating-point operations and memory, counted from its shapes alone."""

from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from nasmeta.networks.memory import Trace, measure_flash
from nasmeta.search_spaces.base import Architecture, SearchSpace
from nasmeta.search_spaces.count import Bits
from nasmeta.search_spaces.joint import JointSpace
from nasmeta.search_spaces.sequence_space import SequenceSpace
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost


@lru_cache(maxsize=4096)
def measure_cost(space: SearchSpace[Any], arch: Any, task: TaskSpec, bits: Bits = 32) -> Cost:
    """The cost of the network of `arch` for `task`; the last 4096 results are remembered.

    FLOPs are those of torch.utils.flop_counter: 2 for each multiply-add of convolutions and matrix products.
    Norms, activations, pooling and additions count as 0. networks/memory.py says how memory and flash are
    counted; `bits` is for these two. A SequenceSpace has formulas for what `counted_cost` counts, without a
    forward pass, for which torch imports as much again as it has imported before.
    Raises ArchitectureError if the space cannot build `arch` for `task`.
    """
    if isinstance(space, JointSpace):  # settings cost nothing
        return measure_cost(space.space, arch.arch, task, bits)
    if not isinstance(space, SequenceSpace):
        return counted_cost(space, arch, task, bits)
    with torch.device("meta"):
        space.build(arch, task)  # raises if it cannot
    return space.cost(arch, task, bits)


def counted_cost(space: SearchSpace[Any], arch: Architecture, task: TaskSpec, bits: Bits = 32) -> Cost:
    """The same, counted in a forward pass on the meta device, where nothing is computed."""
    with torch.device("meta"):
        module = space.build(arch, task)
        example = torch.empty(1, *task.input_shape)
    trace = Trace(example)
    with torch.no_grad(), trace, FlopCounterMode(display=False) as counter:
        module(example)
    return Cost(
        params=sum(parameter.numel() for parameter in module.parameters()),
        flops=counter.get_total_flops(),
        memory=bits * trace.peak() // 8,
        flash=measure_flash(module, bits),
    )
