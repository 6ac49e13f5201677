"""Batch norm, activation and pooling as one operation, for the images of T tasks at once.

Per task and channel, with given moments or those of the task's first m positions (of its first rows):

    z = gamma (x - mu) r + beta,  r = (var + eps)^-1/2        (Ioffe & Szegedy 2015, arXiv:1502.03167)
    y = pool(f(z))                                            over windows of K x K positions

and for g = f'(z) * (dL/dy, brought back to the positions that the pooling took it from):

    dL/dbeta = sum(g),  dL/dgamma = sum(g (x - mu) r)
    dL/dx = gamma r (g - [position < m] (dL/dbeta + (x - mu) r dL/dgamma) / m)

without the last term if the moments are given. Sums are in float32, whatever x is.

Images lie in memory as [T, n, H, W, C], so a task is a matrix with a row for each position. Nothing can be
normalized before the last of m positions is read, and programs of one grid cannot wait for each other. So
there are two passes over x forward (moments, then the rest) and two backward (sums, then dL/dx). Backward,
z is computed again, since reading it would take as long as reading x. With 2x2 pooling, all of this reads and
writes 5.75 times the size of x. Sums have a fixed order, so the same input gives the same bits.

The kernels are in norm_kernels.py. They were not run on a GPU yet.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from nasmeta.networks.forward_pass import Activation, Pooling
from nasmeta.networks.kernels.triton import norm_kernels as kernels

Moments = tuple[Tensor, Tensor]

TILE = 2048
"""How many numbers of a tensor a program holds at once."""
SPLITS = 32
"""How many programs share a sum over the positions of a task at most."""

FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]]
FUNCTIONS = {"none": lambda z: z, "relu": F.relu, "gelu": F.gelu, "silu": F.silu}
POOLINGS: dict[Pooling, Callable[[Tensor], Tensor]]
POOLINGS = {"none": lambda y: y, "max": lambda y: F.max_pool2d(y, 2), "avg": lambda y: F.avg_pool2d(y, 2)}


def reference(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    rows: int,
    eps: float,
    activation: Activation,
    pooling: Pooling,
    moments: Moments | None = None,
) -> Tensor:
    """What `norm_activation_pool` computes, by torch's own functions."""
    mean, variance = moments or (
        x[:, :rows].mean((1, 3, 4)),
        x[:, :rows].var((1, 3, 4), correction=0),
    )
    mu, r, gamma, beta = (p[:, None, :, None, None] for p in (mean, torch.rsqrt(variance + eps), gamma, beta))
    y = FUNCTIONS[activation](gamma * (x - mu) * r + beta)
    pooled: Tensor = POOLINGS[pooling](y.flatten(0, 1)).unflatten(0, x.shape[:2])
    return pooled


def norm_activation_pool(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    rows: int,
    eps: float,
    activation: Activation,
    pooling: Pooling,
    moments: Moments | None = None,
) -> Tensor:
    """pool(activation(norm(x))) of x [T, n, C, H, W] -> [T, n, C, H', W'], differentiable once.

    x: in float32 or bfloat16, which the result has too; copied unless it is channels_last.
    gamma, beta: [T, C], in float32. rows: a task is normalized by the moments of its first `rows` images.
    moments: means and variances [T, C] in float32 to normalize by instead; they count as constants.
    pooling: over windows of 2 x 2, which leave out the last of an odd number of rows or columns.
    """
    y: Tensor = _NormActivationPool.apply(x, gamma, beta, rows, eps, activation, pooling, moments)
    return y


class _NormActivationPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        rows: int,
        eps: float,
        activation: Activation,
        pooling: Pooling,
        moments: Moments | None,
    ) -> Tensor:
        x, gamma, beta = _channels_last(x), gamma.contiguous(), beta.contiguous()
        tasks, n, height, width, channels = x.shape
        if moments is None:
            m = rows * height * width
            mean, rstd = _moments(x, m, eps)
        else:
            m = 0
            mean, rstd = moments[0].contiguous(), torch.rsqrt(moments[1] + eps)
        k = 1 if pooling == "none" else 2
        y = x.new_empty(tasks, n, height // k, width // k, channels)
        given, how = (x, gamma, beta, mean, rstd), {"ACTIVATION": activation, "MAX": pooling == "max", "K": k}
        _launch(kernels.forward, _tiles(y), *given, y, *x.shape[1:], **how)
        ctx.save_for_backward(*given)
        ctx.m, ctx.how = m, how
        return y.permute(0, 1, 4, 2, 3)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # asked for by create_graph
            raise RuntimeError("norm_activation_pool is differentiable once")
        x, k = ctx.saved_tensors[0], ctx.how["K"]
        tasks, channels = len(x), x.shape[-1]
        gy, gx = _channels_last(gy), torch.empty_like(x)
        given = (gy, *ctx.saved_tensors)
        splits, span = _splits(_tiles(gy))
        sums = x.new_empty(2, tasks, splits, channels, dtype=torch.float32)
        _launch(kernels.sums, splits, *given, *sums, span, *x.shape[1:], **ctx.how)
        ggamma, gbeta = sums.sum(2)
        windows = x[:, :, ::k, ::k]  # with those at the edge that the pooling leaves out
        by_m = 1 / ctx.m if ctx.m else 0.0
        _launch(
            kernels.backward, _tiles(windows), *given, ggamma, gbeta, gx, ctx.m, by_m, *x.shape[1:], **ctx.how
        )
        return gx.permute(0, 1, 4, 2, 3), ggamma, gbeta, None, None, None, None, None


def _channels_last(x: Tensor) -> Tensor:
    """[T, n, C, H, W] -> [T, n, H, W, C], which lies in memory in this order."""
    return x.permute(0, 1, 3, 4, 2).contiguous()


def _moments(x: Tensor, m: int, eps: float) -> Moments:
    """mu and r of each task's first m positions, [T, C] each: x is [T, n, H, W, C]."""
    tasks, channels = len(x), x.shape[-1]
    splits, span = _splits(triton.cdiv(m, _tile(channels)[0]))
    means, squares = x.new_empty(2, tasks, splits, channels, dtype=torch.float32)
    mean, rstd = x.new_empty(2, tasks, channels, dtype=torch.float32)
    _launch(kernels.split_moments, splits, x, means, squares, m, span, x[0, ..., 0].numel(), channels)
    _launch(
        kernels.merge_moments, 1, means, squares, mean, rstd, m, span, splits, eps, channels, SPLITS=SPLITS
    )
    return mean, rstd


def _tile(channels: int) -> tuple[int, int]:
    """P and C: a tile has P positions and C channels."""
    c = min(128, max(16, triton.next_power_of_2(channels)))
    return TILE // c, c


def _tiles(x: Tensor) -> int:
    """How many tiles cover the positions of each task of x [T, n, H, W, C]."""
    return int(triton.cdiv(x[0, ..., 0].numel(), _tile(x.shape[-1])[0]))


def _splits(tiles: int) -> tuple[int, int]:
    """Into how many splits `tiles` are divided, and how many tiles each of them has, but the last."""
    span = triton.cdiv(tiles, SPLITS)
    return triton.cdiv(tiles, span), span


def _launch(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    """Starts so many programs for every C channels of every task.

    `arguments` begin with a tensor [T, ...] and end with the number of channels. Nothing happens on the meta
    device.
    """
    x, channels = arguments[0], arguments[-1]
    p, c = _tile(channels)
    if not x.is_meta:
        with torch.cuda.device_of(x):
            kernel[programs, triton.cdiv(channels, c), len(x)](*arguments, **constants, P=p, C=c)
