"""Acquisition functions: what looking at an architecture is worth, given the score predicted for it.

mean, std [candidates] float64 describe a normal distribution each; std is positive. The higher, the better.
"""

import math

import torch
from torch import Tensor


def log_expected_improvement(mean: Tensor, std: Tensor, best: float) -> Tensor:
    """log E[max(score - best, 0)] (Jones, Schonlau & Welch 1998, eq. 15; stable as in Ament et al. 2023).

    = log std + log(phi(z) + z Phi(z)) with z = (mean - best) / std. The logarithm orders as the expectation
    does, and goes on ordering where that underflows. Accurate for z above -1e4.
    """
    z = (mean - best) / std
    negative = z.clamp(max=-1.0)
    log_density = -negative.square() / 2 - math.log(2 * math.pi) / 2
    # phi(z) + z Phi(z) = phi(z) (1 + z Phi(z) / phi(z)), and erfcx is that ratio without the underflow.
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-negative / math.sqrt(2))
    far = log_density + torch.log1p(negative * ratio)
    near = z.clamp(min=-1.0)
    density = torch.exp(-near.square() / 2) / math.sqrt(2 * math.pi)
    return std.log() + torch.where(z < -1, far, torch.log(density + near * torch.special.ndtr(near)))


def upper_confidence_bound(mean: Tensor, std: Tensor, kappa: float) -> Tensor:
    """mean + kappa std."""
    return mean + kappa * std


def thompson(mean: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
    """A draw from each distribution: independent Thompson sampling (White et al. 2021)."""
    return mean + std * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
