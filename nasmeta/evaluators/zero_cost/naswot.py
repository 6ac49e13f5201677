"""NASWOT, neural architecture search without training (Mellor et al. 2021, arXiv:2006.04647v3).

The code of an input says of every rectifier whether it is on. With N_A rectifiers and the Hamming distance d
of codes, K_ij = N_A - d(c_i, c_j), and the score is log |det K|: high where inputs fall into different linear
regions. A unit counts as on where what goes into its activation is positive, which for ReLU is the paper's
code; for the other smooth or leaky ones (GELU, SiLU, tanh, ...) it is our extension. The rectifiers of a
squeeze-excite count too. Inputs are the support and query examples of a task together, without their labels;
the mean over tasks.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nasmeta.evaluators.zero_cost.untrained import Untrained, mean

ACTIVATIONS = frozenset(
    {
        *(F.relu, torch.relu, F.relu6, F.leaky_relu, torch.prelu, F.elu, F.selu, F.celu),
        *(F.gelu, F.silu, F.mish, F.hardswish, F.softplus, torch.tanh, F.hardtanh),
    }
)
"""What torch.nn's activations call."""


@torch.no_grad()
def naswot(net: Untrained) -> float:
    """Minus infinity where two inputs have the same code, NaN for a network without an activation."""
    return mean(_score(net, support_x, query_x) for support_x, _, query_x, _ in net.tasks())


def _score(net: Untrained, support_x: Tensor, query_x: Tensor) -> float:
    with _Codes() as seen:
        net.outputs(support_x, query_x)
    if not seen.codes:
        return math.nan
    kernel = torch.stack([hamming_kernel(code).cpu().double() for code in seen.codes]).sum(0)
    return float(torch.linalg.slogdet(kernel).logabsdet)


def hamming_kernel(codes: Tensor) -> Tensor:
    """The number of units in which two codes agree, for codes [N, units] of 0 and 1: [N, N]."""
    codes = codes.float()  # exact for up to 2^24 units
    return codes @ codes.T + (1 - codes) @ (1 - codes).T


class _Codes(TorchFunctionMode):
    """Inside, notes the codes [N, units] of every activation that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in ACTIVATIONS:
            x: Tensor = args[0] if args else named["input"]
            self.codes.append((x > 0).flatten(1))
        return func(*args, **named)
