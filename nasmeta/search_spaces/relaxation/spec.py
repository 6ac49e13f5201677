"""How a space is made continuous, and how an architecture adapts to a task: plain values, no torch."""

from dataclasses import dataclass
from typing import Literal

Inputs = Literal["all", "edges", "pairs"]


@dataclass(frozen=True)
class Relaxation:
    """What a relaxed network weights besides the operations of every edge.

    inputs: "all" sums a node's inputs, as in DARTS; "edges" weights them by a softmax (PC-DARTS); "pairs"
    weights pairs of them by a softmax (MetaNAS).
    channel_divisor: K of PC-DARTS: 1 of K channels goes through the operations, the others bypass them.
    """

    inputs: Inputs
    channel_divisor: int


@dataclass(frozen=True)
class Adaptation:
    """How the architecture's parameters are meta-learned and adapted along with the weights.

    inner_scale, outer_scale: their learning rates in the inner and the outer loop, as factors of the weights'
    rates. warmup: meta-iterations in which only the weights learn. temperature_start, temperature_end: of the
    softmaxes (soft pruning), at the first inner step and at the end, which is the last inner step of Reptile
    and the outer loss of MAML. prune_steps: inner steps that the pruned network of a test task gets.
    """

    inner_scale: float
    outer_scale: float
    warmup: int
    temperature_start: float
    temperature_end: float
    prune_steps: int
