"""How the layers of a network compute one forward pass."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

import torch
from torch import Tensor

from nasmeta.networks.policy import OWN, Statistics

Activation = Literal["none", "relu", "gelu", "silu"]
Pooling = Literal["none", "max", "avg"]
"""What may follow a norm in the same operation; pooling is of 2x2 windows."""
Norm = Literal["batch", "group"]

PIECEWISE_LINEAR: tuple[Activation, ...] = ("none", "relu")
"""Activations whose second derivative is 0."""


class Kernels(Enum):
    """What computes the layers; results are equal up to rounding.

    FUSED: kernels/batch_norm.py, which fuses steps and layers. Differentiable once. Without it, passes under
    `batch_norm: support` take 1.2 to 1.6 times as long (CPU time of one thread, 4-conv-64, 2026-11-26).
    TWICE: the same for a pass that is differentiated twice.
    STACKED: kernels/stacked.py, inside torch.vmap.
    PLAIN: torch's own functions, layer by layer, as torch.compile, autocast and hooks need them.
    """

    FUSED = auto()
    TWICE = auto()
    STACKED = auto()
    PLAIN = auto()


@dataclass
class ForwardPass:
    """The pass that a network is computing; all of its layers refer to one of these.

    triton: whether kernels/triton/ computes what it can, before `kernels` is asked.
    group_norms: whether that includes group norms.
    twice: whether the pass is differentiated twice.
    stacked: whether it is inside torch.vmap, where every task has its own weights.
    """

    statistics: Statistics = OWN
    kernels: Kernels = Kernels.FUSED
    triton: bool = False
    group_norms: bool = False
    twice: bool = False
    stacked: bool = False

    def become(self, other: "ForwardPass") -> None:
        """Takes over the values of `other`."""
        vars(self).update(vars(other))

    def fuses(self, x: Tensor, activation: Activation, norm: Norm) -> bool:
        """Whether a norm of x computes `activation` and the pooling after it too, by kernels/triton/.

        The size of x does not matter, since what follows asks with a map that may be pooled already. In a
        pass that is differentiated twice, it takes batch norm, a piecewise linear activation and the moments
        of all rows. Group norms are those of images [n, C, H, W].
        """
        if not self.triton or x.dtype not in (torch.float32, torch.bfloat16):
            return False
        if norm == "group":
            return self.group_norms and not self.twice and x.dim() == 4
        own = self.statistics.rows is None and not self.statistics.population
        enough = not self.twice or (own and activation in PIECEWISE_LINEAR)
        return not self.statistics.record and enough
