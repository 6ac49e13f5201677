"""How the layers of a network compute one forward pass."""

from dataclasses import dataclass
from enum import Enum, auto

from nasmeta.networks.policy import OWN, Statistics


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
    """The pass that a network is computing; all of its layers refer to one of these."""

    statistics: Statistics = OWN
    kernels: Kernels = Kernels.FUSED

    def become(self, other: "ForwardPass") -> None:
        """Takes over the values of `other`."""
        self.statistics, self.kernels = other.statistics, other.kernels
