"""A network's cost, parameters and floating-point operations, counted from its shapes alone."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from nasmeta.search_spaces.base import Architecture, SearchSpace
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost

# They keep the shape and count as no FLOPs. On the meta device, torch decomposes them, which is slow.
NORMS = frozenset({F.batch_norm, F.group_norm, F.layer_norm, F.instance_norm})


@lru_cache(maxsize=4096)
def measure_cost(space: SearchSpace[Any], arch: Architecture, task: TaskSpec) -> Cost:
    """The cost of the network of `arch` for `task`; the last 4096 results are remembered.

    FLOPs are those of torch.utils.flop_counter: 2 for each multiply-add of convolutions and matrix products.
    Norms, activations, pooling and additions count as 0. The network is built on the meta device, so nothing
    is computed. Measured for the conv space on one busy core: a median of 18 ms (3 to 64) per architecture.
    Raises ArchitectureError if the space cannot build `arch` for `task`.
    """
    with torch.device("meta"):
        module = space.build(arch, task)
        example = torch.empty(1, *task.input_shape)
    with torch.no_grad(), WithoutNorms(), FlopCounterMode(display=False) as counter:
        module(example)
    params = sum(parameter.numel() for parameter in module.parameters())
    return Cost(params=params, flops=counter.get_total_flops())


class WithoutNorms(TorchFunctionMode):
    """A context in which torch's normalizations return their input."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in NORMS:
            return args[0] if args else named["input"]
        return func(*args, **named)
