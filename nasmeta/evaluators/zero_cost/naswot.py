"""NASWOT, neural architecture search without training (Mellor et al. 2021, arXiv:2006.04647v3).

The code of an input says for every rectifier whether it is on. With N_A rectifiers and the Hamming distance d
of codes, K_ij = N_A - d(c_i, c_j), and the score is log |det K|. It is high if inputs fall into different
linear regions. Inputs are the support and query examples of a task together, without labels. The result is
the mean over tasks.

A unit counts as on if the input of its activation is positive. For ReLU that is the paper's code; for smooth
and leaky activations (GELU, SiLU, tanh, ...) it is our extension. The rectifiers of a squeeze-excite count
too.

The score does not depend on the order of activation and pooling. Max-pooling commutes with a monotone
activation, so our networks pool first; the units are counted before the pooling, as in the paper. Layers that
rectify the same tensor have the same units, which count once.
"""

import math
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nasmeta.evaluators.zero_cost.untrained import Untrained
from nasmeta.networks.forward_pass import Kernels

MONOTONE = frozenset(
    [F.relu, torch.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.softplus, torch.tanh, F.hardtanh]
)
"""Activations f with f(max(a, b)) = max(f(a), f(b))."""

ACTIVATIONS = MONOTONE | {torch.prelu, F.gelu, F.silu, F.mish, F.hardswish}
"""The functions that torch.nn's activations call."""

MAX_POOLINGS = frozenset(
    getattr(F, f"{adaptive}max_pool{dims}d") for adaptive in ("", "adaptive_") for dims in (1, 2, 3)
)
"""The functions that torch.nn's max-poolings call."""


@torch.no_grad()
def naswot(net: Untrained) -> float:
    """The mean score; minus infinity if codes do not tell a task's inputs apart, NaN without activations."""
    return fmean(_score(net, support_x, query_x) for support_x, _, query_x, _ in net.tasks())


def _score(net: Untrained, support_x: Tensor, query_x: Tensor) -> float:
    with _Codes() as seen:
        net.outputs(support_x, query_x, Kernels.PLAIN)  # a fused norm and pooling never has the whole map
    if not seen.codes:
        return math.nan
    kernel = torch.stack([hamming_kernel(code).cpu().double() for code in seen.codes]).sum(0)
    return log_determinant(kernel)


def log_determinant(kernel: Tensor) -> float:
    """log |det K| of a positive semidefinite K [N, N]; minus infinity if K is numerically singular.

    That is decided in double precision. Rounding leaves tiny pivots in a singular matrix, and their
    logarithms would look like a score.
    """
    values = torch.linalg.eigvalsh(kernel)  # ascending
    rounding = float(values[-1]) * len(values) * torch.finfo(values.dtype).eps
    return float(values.log().sum()) if float(values[0]) > rounding else -math.inf


def hamming_kernel(codes: Tensor) -> Tensor:
    """The number of units in which each two codes agree: codes [N, units] of 0 and 1 -> [N, N]."""
    codes = codes.float()  # exact for up to 2^24 units
    return codes @ codes.T + (1 - codes) @ (1 - codes).T


class _Codes(TorchFunctionMode):
    """Inside this mode, records the codes [N, units] of all rectified units, each once."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Tensor] = []
        # Keyed by id. The tensors are kept, so that no id is used twice.
        self._rectified: dict[int, Tensor] = {}
        self._pooled: dict[int, tuple[Tensor, Tensor]] = {}  # a pooled map, and the map before pooling

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in ACTIVATIONS or func in MAX_POOLINGS:
            x: Tensor = args[0] if args else (kwargs or {})["input"]
            if func in MAX_POOLINGS:
                self._pooled[id(result)] = result, self._whole(x)
            else:
                self._note(self._whole(x) if func in MONOTONE else x)
        return result

    def _whole(self, x: Tensor) -> Tensor:
        """The map that `x` was pooled from; `x` itself if it was not pooled."""
        return self._pooled[id(x)][1] if id(x) in self._pooled else x

    def _note(self, x: Tensor) -> None:
        if id(x) not in self._rectified:
            self._rectified[id(x)] = x
            self.codes.append((x > 0).flatten(1))
