"""How a space is made continuous, and how an architecture then adapts to a task: plain values, no torch."""

from dataclasses import dataclass
from typing import Literal

Inputs = Literal["all", "edges", "pairs"]


@dataclass(frozen=True)
class Relaxation:
    """What a relaxed network weighs beside the operations of every edge.

    inputs: all (the sum of a node's inputs, as in DARTS), edges (a softmax over them, PC-DARTS) or pairs (a
    softmax over pairs of them, MetaNAS). share: one of so many channels goes through the operations, the
    others around them (PC-DARTS' K); 1 is all of them.
    """

    inputs: Inputs
    share: int


@dataclass(frozen=True)
class Adaptation:
    """How the architecture's parameters are meta-learned and adapted beside the weights.

    inner_scale, outer_scale: their learning rates in the inner and the outer loop, as factors of the
    weights'. warmup: meta-iterations in which only the weights learn. temperature_start, temperature_end:
    of the softmaxes, from the first to the last inner step (soft pruning). prune_steps: inner steps that the
    pruned network of a test task gets.
    """

    inner_scale: float
    outer_scale: float
    warmup: int
    temperature_start: float
    temperature_end: float
    prune_steps: int
