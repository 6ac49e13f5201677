"""A network's cost: parameters, floating-point operations and memory, counted from its shapes alone."""

from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from nasmeta.networks.memory import Trace, measure_flash
from nasmeta.search_spaces.base import Architecture, SearchSpace
from nasmeta.search_spaces.count import Bits
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost


@lru_cache(maxsize=4096)
def measure_cost(space: SearchSpace[Any], arch: Any, task: TaskSpec, bits: Bits = 32) -> Cost:
    """The cost of the network of `arch` for `task`; the last 4096 results are remembered.

    FLOPs are those of torch.utils.flop_counter: 2 for each multiply-add of convolutions and matrix products.
    Norms, activations, pooling and additions count as 0. networks/memory.py says how memory and flash are
    counted; `bits` is for these two. Spaces of block sequences count by formulas. A forward pass
    (`counted_cost`) gives the same numbers, but makes torch import its decompositions, which takes as long as
    importing torch. Raises ArchitectureError if the space cannot build `arch` for `task`.
    """
    module = _without_values(space, arch, task)
    return space.formula_cost(arch, task, bits) or _cost_of_pass(module, task, bits)


def counted_cost(space: SearchSpace[Any], arch: Architecture, task: TaskSpec, bits: Bits = 32) -> Cost:
    """The same, counted in a forward pass on the meta device, where nothing is computed."""
    return _cost_of_pass(_without_values(space, arch, task), task, bits)


def _without_values(space: SearchSpace[Any], arch: Architecture, task: TaskSpec) -> FewShotNetwork:
    """The network of `arch` on the meta device."""
    with torch.device("meta"):
        return space.build(arch, task)


def _cost_of_pass(module: FewShotNetwork, task: TaskSpec, bits: Bits) -> Cost:
    example = torch.empty(1, *task.input_shape, device="meta")
    trace = Trace(example)
    with torch.no_grad(), trace, FlopCounterMode(display=False) as counter:
        module(example)
    return Cost(
        params=sum(parameter.numel() for parameter in module.parameters()),
        flops=counter.get_total_flops(),
        memory=bits * trace.peak() // 8,
        flash=measure_flash(module, bits),
    )
