"""Synaptic flow (Tanaka et al. 2020, arXiv:2006.05467, eq. 2), as a score of Abdelfattah et al. 2021.

Every parameter is replaced by its absolute value, and the input is all ones. R is the sum of the outputs, and
the score is the sum of theta * dR/dtheta over all weights: the total strength of the paths through the
network, each counted once per layer. It needs no data.

As in Abdelfattah et al. (arXiv:2101.08134), normalizations are left out, and the sum is over the weights of
convolutions and linear layers. It is computed in double precision on the CPU, because not every device has
it. Activations stay as they are: on the positive numbers that occur here ReLU is the identity, and GELU and
SiLU nearly so; tanh saturates, and its networks score near zero.

The values span many orders of magnitude: compare ranks.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from nasmeta.evaluators.zero_cost.untrained import Untrained
from nasmeta.networks.forward_pass import Kernels
from nasmeta.networks.memory import NORMS
from nasmeta.networks.policy import Statistics

POPULATION = Statistics(population=True)
"""One input has no moments of its own; those that are given do not matter, because norms are left out."""


def synflow(net: Untrained) -> float:
    """The sum of theta * dR/dtheta at |theta|, which is not negative."""
    state = net.state
    double = {name: p.detach().cpu().double() for name, p in state.network_parameters.items()}
    absolute = {name: p.abs().requires_grad_() for name, p in double.items()}
    ones = torch.ones(1, *state.task.input_shape, dtype=torch.float64)
    with WithoutNorms():
        flow = state.network(absolute, ones, POPULATION, Kernels.PLAIN).sum()
    weights = [absolute[name] for name in net.weights()]
    gradients = torch.autograd.grad(flow, weights, allow_unused=True, materialize_grads=True)
    return float(sum((w.detach() * g).sum() for w, g in zip(weights, gradients, strict=True)))


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
