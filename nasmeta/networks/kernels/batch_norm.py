"""Batch normalization by the statistics of the first rows, with the derivatives of MAML written out.

Per channel, over the first m of the rows: mu = mean(x), r = (var(x) + eps)^-1/2; for all rows
z = r (x - mu) and y = gamma z + beta (Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1).
The first derivatives are torch's fused kernels. The second, which a differentiated inner step takes of a
support set's own normalization, are a closed form of three sums: composed by autograd they are some twenty
passes over every feature map, 30 % of second-order MAML's time at five steps (profile, 4-conv-32).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BACKWARD = torch.ops.aten.native_batch_norm_backward.default
ALL_THREE = [True, True, True]


def normalize(x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
    """x [n, C] or [n, C, H, W] normalized by the moments of x[:rows]; gamma, beta [C].

    Twice differentiable where rows is all of x, once otherwise.
    """
    y: Tensor = _Normalize.apply(x, gamma, beta, rows, eps)  # type: ignore[no-untyped-call]
    return y


def normalize_and_pool(x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
    """`normalize`, then max-pooling of 2x2; once differentiable, and for gamma > 0 only.

    A rising function goes past a maximum: the pooled x is normalized, a quarter of the numbers. The whole
    map is then written once and not twice, forward and backward, and a large one is in no cache: on two cores
    ProtoNet gained 6 to 10 % (4-conv, 28x28); small maps lose.
    """
    y: Tensor = _NormalizeAndPool.apply(x, gamma, beta, rows, eps)  # type: ignore[no-untyped-call]
    return y


def pool_and_normalize(x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
    """`normalize_and_pool` without a gradient, for which alone the places of the maxima are needed.

    Maxima of whole rows, then of columns: with the channels last, a third of the time of PyTorch's pooling.
    """
    mean, variance = _moments(x[:rows], eps)
    height, width = (size // 2 * 2 for size in x.shape[2:])
    x = x[:, :, :height, :width]
    x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    x = torch.maximum(x[..., ::2], x[..., 1::2])
    return torch.batch_norm(x, gamma, beta, mean, variance, False, 0.0, 0.0, False)


def _moments(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The means and variances + eps that normalize, [C] each."""
    mean, variance = torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)
    return mean, variance.add_(eps)


class _NormalizeAndPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
        mean, variance = _moments(x[:rows], eps)
        pooled, places = torch.ops.aten.max_pool2d_with_indices(x, [2, 2], [2, 2])
        ctx.save_for_backward(x, pooled, places, gamma, mean, variance)
        ctx.rows = rows
        return torch.batch_norm(pooled, gamma, beta, mean, variance, False, 0.0, 0.0, False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, pooled, places, gamma, mean, variance = ctx.saved_tensors
        rstd = variance.rsqrt()
        g, ggamma, gbeta = _backward_held(gy, pooled, gamma, mean, variance, rstd)
        window = ([2, 2], [2, 2], [0, 0], [1, 1], False)
        gx = torch.ops.aten.max_pool2d_with_indices_backward(g, x, *window, places)
        _through_moments(gx, x[: ctx.rows], gamma, mean, rstd, ggamma, gbeta)
        return gx, ggamma, gbeta, None, None


def _backward_held(
    gy: Tensor, x: Tensor, gamma: Tensor, mean: Tensor, variance: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dL/dx, dL/dgamma, dL/dbeta with the moments held. CPUs read the variance, CUDA's kernels either."""
    gradients: tuple[Tensor, Tensor, Tensor] = BACKWARD(
        gy, x, gamma, mean, variance, mean, rstd, False, 0.0, ALL_THREE
    )
    return gradients


def _through_moments(
    gx: Tensor, first: Tensor, gamma: Tensor, mean: Tensor, rstd: Tensor, ggamma: Tensor, gbeta: Tensor
) -> None:
    """Subtracts gamma r (sum(dL/dy) + z sum(z dL/dy)) / m from dL/dx of the first rows, in place."""
    count = first.numel() // first.shape[1]
    by_x = -gamma * rstd.square() * ggamma / count
    constant = -gamma * rstd * gbeta / count - by_x * mean
    _affine(gx[: len(first)], first, by_x, constant)


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
        y, mean, rstd = torch.native_batch_norm(x[:rows], gamma, beta, None, None, True, 0.0, eps)
        if rows < len(x):  # the eval-mode kernel with moments of our own
            y = torch.batch_norm(x, gamma, beta, mean, rstd.pow(-2), False, 0.0, 0.0, False)
        ctx.save_for_backward(x, gamma, mean, rstd)
        ctx.rows = rows
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, mean, rstd = ctx.saved_tensors
        gradients = _Backward.apply(gy, x, gamma, mean, rstd, ctx.rows)  # type: ignore[no-untyped-call]
        return (*gradients, None, None)


class _Backward(torch.autograd.Function):
    """(dL/dy, x, gamma) -> dL/dx, dL/dgamma, dL/dbeta; mu and r are those of x."""

    @staticmethod
    def forward(
        ctx: Any, gy: Tensor, x: Tensor, gamma: Tensor, mean: Tensor, rstd: Tensor, rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """dL/dx = gamma r (dL/dy - [row < m] (sum(dL/dy) + z sum(z dL/dy)) / m)."""
        everything = rows == len(x)
        if everything:
            gx, ggamma, gbeta = BACKWARD(gy, x, gamma, None, None, mean, rstd, True, 0.0, ALL_THREE)
        else:
            gx, ggamma, gbeta = _backward_held(gy, x, gamma, mean, rstd.pow(-2), rstd)
            _through_moments(gx, x[:rows], gamma, mean, rstd, ggamma, gbeta)
        ctx.save_for_backward(gy, x, gamma, mean, rstd, ggamma, gbeta)
        ctx.everything = everything
        return gx, ggamma, gbeta

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:
        """The derivatives of sum(u dL/dx) + sum(p dL/dgamma) + sum(q dL/dbeta), all rows being the first.

        With n rows and means over them A = mean(gy), B = mean(z gy), U = mean(u), V = mean(z u),
        W = mean(u gy), the sum is n (gamma r (W - A U - B V) + p B + q A), where z and r depend on x.
        """
        if not ctx.everything:
            raise RuntimeError("normalization by the first rows is differentiable once")
        gy, x, gamma, mean, rstd, ggamma, gbeta = ctx.saved_tensors
        n = x.numel() // x.shape[1]
        # gamma r (u - U - z V), n V and n U in one pass.
        by_gy, sum_zu, sum_u = BACKWARD(u, x, gamma, None, None, mean, rstd, True, 0.0, ALL_THREE)
        a, b, mean_u, mean_zu = gbeta / n, ggamma / n, sum_u / n, sum_zu / n
        inner = (u * gy).sum(_others(x)) / n - a * mean_u - b * mean_zu  # W - A U - B V
        scale = gamma * rstd
        by_gy = _affine(by_gy, x, p * rstd, q - p * rstd * mean)
        # h = dL/dz with r held: (p - gamma r V) gy - gamma r B u; then through z, and through r.
        of_gy, of_u = rstd * (p - scale * mean_zu), -rstd * scale * b
        of_z = -rstd * (b * (p - 2 * scale * mean_zu) + scale * inner)
        constant = -rstd * (p * a - scale * (a * mean_zu + b * mean_u)) - of_z * rstd * mean
        by_x = _affine(gy * _wide(of_gy, x), u, of_u, None)
        by_x = _affine(by_x, x, of_z * rstd, constant)
        return by_gy, by_x, n * rstd * inner, None, None, None


def _affine(total: Tensor, x: Tensor, slope: Tensor, constant: Tensor | None) -> Tensor:
    """total + slope x + constant, per channel, in place."""
    total.addcmul_(x, _wide(slope, x))
    return total if constant is None else total.add_(_wide(constant, x))


def _wide(per_channel: Tensor, x: Tensor) -> Tensor:
    """[C] -> [C, 1, 1] for images, as it is for vectors."""
    return per_channel.view(-1, *[1] * (x.dim() - 2))


def _others(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]
