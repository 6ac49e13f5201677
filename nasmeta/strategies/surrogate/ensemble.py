"""The ensemble of graph networks: it keeps training as scores come in, and predicts mean and deviation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nasmeta.runtime import plain_optimizers
from nasmeta.strategies.surrogate.graphs import EncodedGraph, pack
from nasmeta.strategies.surrogate.networks import GraphNetworks, GraphTensors

MEMBERS, HIDDEN, LAYERS = 5, 32, 3
"""The number of networks, the width of their states, and their rounds of message passing."""

LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.01
"""Settings of AdamW."""

BATCH = 64
"""Graphs that a training step sees."""

CHUNK = 512
"""Graphs predicted at once, which bounds the memory."""

SMALLEST_STD = 1e-3
"""The smallest standard deviation of a prediction, in units of the targets.

If members agree exactly, nothing would be left to divide by.
"""


class Ensemble:
    """Graph networks that differ in their initial weights (deep ensemble, Lakshminarayanan et al. 2017).

    Trained by AdamW on the squared error. A pure function of its generators and data: it computes on one
    thread, whatever torch is set to, so that results do not depend on the number of cores.

    features: numbers that describe a node of a graph. rng: draws the initial weights.
    """

    def __init__(self, features: int, rng: np.random.Generator) -> None:
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        self._networks = GraphNetworks(
            features=features, members=MEMBERS, hidden=HIDDEN, layers=LAYERS, generator=generator
        )
        self._optimizer = plain_optimizers.AdamW(
            [self._networks.parameters], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )

    def fit(
        self,
        graphs: Sequence[EncodedGraph],
        targets: NDArray[np.float32],
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        """Trains for `steps` more steps, each on BATCH graphs (or all, if fewer) drawn by `rng`."""
        with _one_thread(), torch.enable_grad():
            wanted = torch.from_numpy(targets)
            everything = GraphTensors.of(pack(graphs)) if len(graphs) <= BATCH else None
            for _ in range(steps):
                if everything is not None:
                    drawn, inputs = wanted, everything
                else:
                    chosen = rng.choice(len(graphs), BATCH, replace=False)
                    drawn, inputs = wanted[chosen], GraphTensors.of(pack([graphs[i] for i in chosen]))
                self._optimizer.zero_grad()
                # Members share no parameters, so in this sum each descends its own mean squared error.
                (self._networks(inputs) - drawn).square().mean(dim=1).sum().backward()
                self._optimizer.step()

    def predict(self, graphs: Sequence[EncodedGraph]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the members, each [graphs] float64."""
        with _one_thread(), torch.no_grad():
            parts = [graphs[i : i + CHUNK] for i in range(0, len(graphs), CHUNK)]
            members = torch.cat([self._networks(GraphTensors.of(pack(part))) for part in parts], dim=1)
            mean, std = members.double().mean(dim=0), members.double().std(dim=0)
        return mean, std.clamp(min=SMALLEST_STD)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
