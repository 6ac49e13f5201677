"""Group norm, activation and pooling as one operation, for the images of T tasks at once.

For each image and each group of its channels, with the moments of the m numbers of the group:

    z = gamma zh + beta,  zh = (x - mu) r,  r = (var + eps)^-1/2    (Wu & He 2018, arXiv:1803.08494)
    y = pool(f(z))                                                  over windows of K x K positions

and for g = f'(z) * (dL/dy, brought back to the positions that the pooling took it from), with A = sum(g) and
B = sum(g zh) over the positions of a channel of an image:

    dL/dbeta, dL/dgamma: the sums of A and B over the images of a task
    dL/dx = r (gamma g - (sum(gamma A) + zh sum(gamma B)) / m)      with sums over the channels of the group

A channel has the moments mu_c and var_c. Those of a group are the means of mu_c and of var_c + (mu_c - mu)^2,
as its channels have equally many positions. Sums are in float32, whatever x is.

Images lie in memory as [T, n, H, W, C], as in norm.py. But here a program can read all that it needs for the
moments itself, so there is one kernel forward and one backward. Either reads its part of an image twice, and
that may still be in the cache the second time. Sums have a fixed order, so that equal inputs give equal bits.

The kernels are in group_norm_kernels.py.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from nasmeta.networks.forward_pass import Activation, Pooling
from nasmeta.networks.kernels.triton import group_norm_kernels as kernels
from nasmeta.networks.kernels.triton.norm import FUNCTIONS, POOLINGS, channels_last

TILE = 2048
"""How many numbers of an image a program holds at once."""
LANES = 32
"""How many of them are at one position, unless a group needs more: in float32, a line of the cache."""


def reference(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    groups: int,
    eps: float,
    activation: Activation,
    pooling: Pooling,
) -> Tensor:
    """What `group_norm_activation_pool` computes, by torch's own functions."""
    of_groups = x.unflatten(2, (groups, -1))
    mean = of_groups.mean((3, 4, 5), keepdim=True)
    variance = of_groups.var((3, 4, 5), correction=0, keepdim=True)
    zh = ((of_groups - mean) * torch.rsqrt(variance + eps)).flatten(2, 3)
    gamma, beta = (p[:, None, :, None, None] for p in (gamma, beta))
    y = FUNCTIONS[activation](gamma * zh + beta)
    pooled: Tensor = POOLINGS[pooling](y.flatten(0, 1)).unflatten(0, x.shape[:2])
    return pooled


def group_norm_activation_pool(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    groups: int,
    eps: float,
    activation: Activation,
    pooling: Pooling,
) -> Tensor:
    """pool(activation(group_norm(x))) of x [T, n, C, H, W] -> [T, n, C, H', W'].

    Differentiable once; raises RuntimeError if that is not enough.

    x: in float32 or bfloat16, which the result has too; copied unless it is channels_last.
    gamma, beta: [T, C], in float32. groups: of C / groups channels each, one after the other.
    pooling: over windows of 2 x 2, which leave out the last of an odd number of rows or columns.
    """
    given = (channels_last(x), gamma.contiguous(), beta.contiguous())
    y: Tensor = _GroupNormActivationPool.apply(*given, groups, eps, activation, pooling)
    return y.permute(0, 1, 4, 2, 3)


class _GroupNormActivationPool(torch.autograd.Function):
    """The operation on x [T, n, H, W, C]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        groups: int,
        eps: float,
        activation: Activation,
        pooling: Pooling,
    ) -> Tensor:
        tasks, n, height, width, channels = x.shape
        k = 1 if pooling == "none" else 2
        y = x.new_empty(tasks, n, height // k, width // k, channels)
        mean, rstd = x.new_empty(2, tasks, n, groups, dtype=torch.float32)
        given, how = (x, gamma, beta, mean, rstd), {"ACTIVATION": activation, "MAX": pooling == "max", "K": k}
        _launch(kernels.forward, n, *given, y, eps, height, width, groups, channels, **how)
        ctx.save_for_backward(*given)
        ctx.how = how
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # once_differentiable would look at gy, but not at x and gamma
            raise RuntimeError("group_norm_activation_pool is differentiable once")
        x, *_, mean, _ = given = ctx.saved_tensors
        tasks, n, height, width, channels = x.shape
        groups, gx = mean.shape[-1], torch.empty_like(x)
        sums = x.new_empty(2, tasks, n, channels, dtype=torch.float32)
        by_m = groups / (height * width * channels)
        _launch(
            *(kernels.backward, n, gy.contiguous(), *given, *sums, gx, by_m),
            *(height, width, groups, channels),
            **ctx.how,
        )
        ggamma, gbeta = sums.sum(2)
        return gx, ggamma, gbeta, *[None] * 4


def _tile(groups: int, channels: int) -> tuple[int, int, int]:
    """S, P and C: a tile has P positions and C lanes, S for each group."""
    s = triton.next_power_of_2(channels // groups)
    c = max(s, min(LANES, s * triton.next_power_of_2(groups)))
    return s, max(1, TILE // c), c


def _launch(kernel: Any, images: int, *arguments: Any, **constants: Any) -> None:
    """Starts a program for every image of every task and every C lanes; nothing happens on the meta device.

    `arguments` begin with a tensor [T, ...] and end with the numbers of groups and channels. `constants` are
    known when the kernel is compiled.
    """
    x, (groups, channels) = arguments[0], arguments[-2:]
    s, p, c = _tile(groups, channels)
    if not x.is_meta:
        with torch.cuda.device_of(x):
            programs = (images, triton.cdiv(groups, c // s), len(x))
            kernel[programs](*arguments, **constants, S=s, P=p, C=c)
