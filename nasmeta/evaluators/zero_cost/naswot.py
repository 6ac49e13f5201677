"""NASWOT, neural architecture search without training (Mellor et al. 2021, arXiv:2006.04647v3).

The code of an input says of every rectifier whether it is on. With N_A rectifiers and the Hamming distance d
of codes, K_ij = N_A - d(c_i, c_j), and the score is log |det K|: high where inputs fall into different linear
regions. A unit counts as on where what goes into its activation is positive, which for ReLU is the paper's
code; for the other activations of torch.nn (GELU, SiLU, tanh, ...) it is our extension. What is written as a
function, as in squeeze-excite, does not count. Inputs are the support and query examples of a task together,
without their labels; the mean over tasks.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nasmeta.evaluators.zero_cost.untrained import Untrained, mean

ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU),
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Tanh, nn.Hardtanh),
)


@torch.no_grad()
def naswot(net: Untrained) -> float:
    """Minus infinity where two inputs have the same code, NaN for a network without an activation."""
    return mean(_score(net, support_x, query_x) for support_x, _, query_x, _ in net.tasks())


def _score(net: Untrained, support_x: Tensor, query_x: Tensor) -> float:
    with _codes(net.state.network.module) as codes:
        net.outputs(support_x, query_x)
    if not codes:
        return math.nan
    kernel = torch.stack([hamming_kernel(code).cpu().double() for code in codes]).sum(0)
    return float(torch.linalg.slogdet(kernel).logabsdet)


def hamming_kernel(codes: Tensor) -> Tensor:
    """The number of units in which two codes agree, for codes [N, units] of 0 and 1: [N, N]."""
    codes = codes.float()  # exact for up to 2^24 units
    return codes @ codes.T + (1 - codes) @ (1 - codes).T


@contextmanager
def _codes(module: nn.Module) -> Iterator[list[Tensor]]:
    """A list that fills with the codes [N, units] of every activation that is called inside."""
    codes: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        codes.append((inputs[0] > 0).flatten(1))

    hooks = [m.register_forward_pre_hook(note) for m in module.modules() if isinstance(m, ACTIVATIONS)]
    try:
        yield codes
    finally:
        for hook in hooks:
            hook.remove()
