"""Batch norm, activation and pooling as one operation, for the images of T tasks at once.

Per task and channel, with given moments or those of the task's first m positions (of its first rows):

    z = gamma (x - mu) r + beta,  r = (var + eps)^-1/2        (Ioffe & Szegedy 2015, arXiv:1502.03167)
    y = pool(f(z))                                            over windows of K x K positions

and for g = f'(z) * (dL/dy, brought back to the positions that the pooling took it from):

    dL/dbeta = sum(g),  dL/dgamma = sum(g (x - mu) r)
    dL/dx = gamma r (g - [position < m] (dL/dbeta + (x - mu) r dL/dgamma) / m)

without the last term if the moments are given. Sums are in float32, whatever x is.

MAML differentiates dL/dx, dL/dgamma and dL/dbeta again. Let u, p, q be the slopes of the three, f'' = 0, and
the moments those of all n positions. With zh = (x - mu) r, the means A of g, B of zh g, U of u, V of zh u and
W of u g, and I = W - A U - B V:

    d/d(dL/dy) = pool_g(f'(z) (gamma r (u - U - zh V) + p zh + q))
    d/dx = r ((p - gamma r V) g - gamma r B u - (B (p - 2 gamma r V) + gamma r I) zh
              - p A + gamma r (A V + B U))
    d/dgamma = n r I,  d/dbeta = 0

where pool_g takes what the pooling took, or the mean. kernels/batch_norm.py has the same without f and pool.

Images lie in memory as [T, n, H, W, C], so a task is a matrix with a row for each position. Nothing can be
normalized before the last of m positions is read, and programs of one grid cannot wait for each other. So
there are two passes over x forward (moments, then the rest) and two backward (sums, then dL/dx). Backward,
z is computed again, since reading it would take as long as reading x. With 2x2 pooling, all of this reads and
writes 5.75 times the size of x, and second derivatives as much again (two passes over x and u). Sums have a
fixed order, so the same input gives the same bits.

The kernels are in norm_kernels.py.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from nasmeta.networks.forward_pass import PIECEWISE_LINEAR, Activation, Pooling
from nasmeta.networks.kernels.triton import norm_kernels as kernels

Moments = tuple[Tensor, Tensor]

MOST_NUMBERS = 2**31 - 1
"""The most numbers of a task that the kernels reach, by offsets of 32 bits. Torch computes larger ones."""
TILE = 2048
"""How many numbers of a tensor a program holds at once."""
SPLITS = 32
"""How many programs share a sum over the positions of a task at most."""
SECOND_WARPS = 8
"""Warps of a program for second derivatives; 4, the default, have too few registers for a tile of x and u."""

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
    """pool(activation(norm(x))) of x [T, n, C, H, W] -> [T, n, C, H', W'].

    Twice differentiable if `activation` is none or relu and all rows give the moments, once otherwise. Raises
    RuntimeError if that is not enough.

    x: in float32 or bfloat16, which the result has too; copied unless it is channels_last.
    gamma, beta: [T, C], in float32. rows: a task is normalized by the moments of its first `rows` images.
    moments: means and variances [T, C] in float32 to normalize by instead; they count as constants.
    pooling: over windows of 2 x 2, which leave out the last of an odd number of rows or columns.
    """
    if x[0].numel() > MOST_NUMBERS:
        return reference(x.float(), gamma, beta, rows, eps, activation, pooling, moments).to(x.dtype)
    given = (channels_last(x), gamma.contiguous(), beta.contiguous())
    y: Tensor = _NormActivationPool.apply(*given, rows, eps, activation, pooling, moments)
    return y.permute(0, 1, 4, 2, 3)


class _NormActivationPool(torch.autograd.Function):
    """The operation on x [T, n, H, W, C]."""

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
        ctx.twice = activation in PIECEWISE_LINEAR and moments is None and rows == n
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and not ctx.twice:  # asked for by create_graph
            raise RuntimeError("norm_activation_pool is differentiable once")
        gradients = _Backward.apply(gy.contiguous(), *ctx.saved_tensors, ctx.m, ctx.how)
        return (*gradients, *[None] * 5)


class _Backward(torch.autograd.Function):
    """The first derivatives: (dL/dy, x, gamma, beta) -> dL/dx, dL/dgamma, dL/dbeta; mu and r depend on x."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        """`arguments`: dL/dy, x, gamma, beta, mu, r, m (0 for given moments) and the kernels' constants."""
        *given, m, how = arguments
        gy, x = given[:2]
        gx = torch.empty_like(x)
        splits, span = _splits(_tiles(gy))
        sums = x.new_empty(2, len(x), splits, x.shape[-1], dtype=torch.float32)
        _launch(kernels.sums, splits, *given, *sums, span, *x.shape[1:], **how)
        ggamma, gbeta = sums.sum(2)
        by_m = 1 / m if m else 0.0
        _launch(
            *(kernels.backward, _tiles(_windows(x, how["K"])), *given),
            *(ggamma, gbeta, gx, m, by_m, *x.shape[1:]),
            **how,
        )
        ctx.save_for_backward(*given, ggamma, gbeta)
        ctx.m, ctx.how = m, how
        return gx, ggamma, gbeta

    @staticmethod
    def backward(ctx: Any, u: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:
        """The derivatives of sum(u dL/dx) + sum(p dL/dgamma) + sum(q dL/dbeta)."""
        if torch.is_grad_enabled():  # once_differentiable would look at u, p and q, but not at x and gamma
            raise RuntimeError("norm_activation_pool is differentiable twice")
        *given, ggamma, gbeta = ctx.saved_tensors
        gy, x, gamma = given[:3]
        u, p, q = u.contiguous(), p.contiguous(), q.contiguous()
        by_gy, by_x, by_gamma = (torch.empty_like(tensor) for tensor in (gy, x, gamma))
        tiles, how = _tiles(_windows(x, ctx.how["K"])), {**ctx.how, "num_warps": SECOND_WARPS}
        splits, span = _splits(tiles)
        sums = x.new_empty(3, len(x), splits, x.shape[-1], dtype=torch.float32)
        _launch(kernels.second_sums, splits, u, *given, *sums, span, *x.shape[1:], **how)
        _launch(
            *(kernels.second_backward, tiles, u, p, q, *given, ggamma, gbeta, *sums.sum(2)),
            *(by_gy, by_x, by_gamma, ctx.m, 1 / ctx.m, *x.shape[1:]),
            **how,
        )
        return by_gy, by_x, by_gamma, *[None] * 5


def channels_last(x: Tensor) -> Tensor:
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


def _windows(x: Tensor, k: int) -> Tensor:
    """The first position of each k x k window of x [T, n, H, W, C], with those that reach over an edge."""
    return x[:, :, ::k, ::k]


def _tile(channels: int) -> tuple[int, int]:
    """P and C: a tile has P positions and C channels."""
    c = min(128, max(16, triton.next_power_of_2(channels)))
    return TILE // c, c


def _tiles(x: Tensor) -> int:
    """How many tiles cover the positions of each task of x [T, n, H, W, C]."""
    return int(triton.cdiv(x[0, ..., 0].numel(), _tile(x.shape[-1])[0]))


def _splits(tiles: int) -> tuple[int, int]:
    """Into how many splits `tiles` are divided, and how many tiles each of them has, but the last."""
    span = max(1, triton.cdiv(tiles, SPLITS))
    return triton.cdiv(tiles, span), span


def _launch(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    """Starts so many programs for every C channels of every task.

    `arguments` begin with a tensor [T, ...] and end with the number of channels. `constants` are known when
    the kernel is compiled. Nothing happens on the meta device.
    """
    x, channels = arguments[0], arguments[-1]
    p, c = _tile(channels)
    if not x.is_meta:
        with torch.cuda.device_of(x):
            kernel[programs, triton.cdiv(channels, c), len(x)](*arguments, **constants, P=p, C=c)
