"""Acquisition functions: the value of looking at an architecture, given its predicted score.

mean, std [candidates] float64 describe one normal distribution per candidate; std is positive. Higher values
are better.
"""

import math

import torch
from torch import Tensor


def log_expected_improvement(mean: Tensor, std: Tensor, best: float) -> Tensor:
    """log E[max(score - best, 0)] (Jones, Schonlau & Welch 1998, eq. 15; stable as in Ament et al. 2023).

    Equals log std + log(phi(z) + z Phi(z)) with z = (mean - best) / std. The logarithm has the order of the
    expectation, and still orders candidates whose expectation underflows. Accurate for z above -1e4.
    """
    z = (mean - best) / std
    negative = z.clamp(max=-1.0)
    log_density = -negative.square() / 2 - math.log(2 * math.pi) / 2
    # phi(z) + z Phi(z) = phi(z) (1 + z Phi(z) / phi(z)), and erfcx gives that ratio without underflow.
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-negative / math.sqrt(2))
    far = log_density + torch.log1p(negative * ratio)
    near = z.clamp(min=-1.0)
    density = torch.exp(-near.square() / 2) / math.sqrt(2 * math.pi)
    return std.log() + torch.where(z < -1, far, torch.log(density + near * torch.special.ndtr(near)))


def thompson(mean: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
    """One draw from each distribution: independent Thompson sampling (White et al. 2021)."""
    return mean + std * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
