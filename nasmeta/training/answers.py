"""Probabilities that mean something: of the answers with 80 %, about 80 in 100 are right.

A network that learned from few images is too sure, or not sure enough. Its logits are divided by a
temperature, which changes no answer (Guo et al. 2017, arXiv:1706.04599). The temperature is the one of
maximum likelihood on meta-validation tasks.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 15
"""Bins of equal width, from probability 0 to 1, over which the calibration error is computed."""

RANGE, HALVINGS = 20.0, 60
"""The temperature lies between 2 ** -RANGE and 2 ** RANGE, and is found by so many halvings."""


@dataclass(frozen=True)
class Answers:
    """What a network answered to queries: logits [n, way], and the right labels [n]."""

    logits: Tensor
    labels: Tensor

    def loss(self, temperature: float = 1.0) -> float:
        """The mean negative log-likelihood of the right labels, in nats."""
        return float(F.cross_entropy(self.logits.double() / temperature, self.labels))

    def calibration_error(self, temperature: float = 1.0) -> float:
        """The expected calibration error: how far probabilities are from shares of right answers.

        The mean over all queries of |share of right answers - mean probability| in the bin of the query's
        most probable label.
        """
        probability, label = (self.logits.double() / temperature).softmax(-1).max(-1)
        excess = (label == self.labels).double() - probability
        bins = (probability * BINS).ceil().long() - 1
        return float(torch.zeros(BINS).double().index_add(0, bins, excess).abs().sum()) / len(excess)

    def temperature(self) -> float:
        """The temperature that makes the right labels most probable.

        The loss is convex in 1 / temperature, so its slope changes sign once. As in Platt's scaling (1999),
        of n + 2 answers one counts as wrong: the temperature stays above 0 if all are right.
        """
        logits, ways = self.logits.double(), self.logits.shape[-1]
        wrong = 1 / (len(logits) + 2)
        targets = (1 - wrong) * F.one_hot(self.labels, ways) + wrong / ways
        low, high = -RANGE, RANGE
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            slope = (((logits * 2.0**middle).softmax(-1) - targets) * logits).sum()
            low, high = (low, middle) if slope > 0 else (middle, high)
        return float(2.0**-low)
