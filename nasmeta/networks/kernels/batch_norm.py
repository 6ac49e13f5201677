"""Batch normalization by the statistics of the first rows, with the derivatives that MAML needs written out.

Per channel, over the first m rows: mu = mean(x), r = (var(x) + eps)^-1/2. For all rows: z = r (x - mu) and
y = gamma z + beta (Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1).
The first derivatives use torch's fused kernels. MAML also needs second derivatives, for a support set that is
normalized by its own statistics in a differentiated inner step. They have a closed form with three sums.
Autograd would make about twenty passes over every feature map, which took 30 % of the time of second-order
MAML with five steps (profile, 4-conv-32).
"""

from typing import Any

import torch
from torch import Tensor

NORM_BACKWARD = torch.ops.aten.native_batch_norm_backward.default
ALL_GRADIENTS = [True, True, True]


def normalize(x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
    """x [n, C] or [n, C, H, W], normalized by the moments of x[:rows]; gamma and beta are [C].

    Twice differentiable if rows == n, once otherwise.
    """
    y: Tensor = _Normalize.apply(x, gamma, beta, rows, eps)  # type: ignore[no-untyped-call]
    return y


def normalize_and_pool(x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
    """`normalize`, then 2x2 max-pooling; once differentiable, and for gamma > 0 only.

    A rising function commutes with the maximum, so x is pooled first and only a quarter of the numbers is
    normalized. The full map is then written once instead of twice, forward and backward, which pays if it is
    too large for the cache: on two cores ProtoNet gained 6 to 10 % (4-conv, 28x28). Small maps lose.
    """
    y: Tensor = _NormalizeAndPool.apply(x, gamma, beta, rows, eps)  # type: ignore[no-untyped-call]
    return y


def pool_and_normalize(x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
    """`normalize_and_pool` without a gradient; only a gradient needs the positions of the maxima.

    It takes maxima of whole rows, then of columns. With channels_last memory this takes a third of the time
    of PyTorch's pooling.
    """
    mean, variance = _moments(x[:rows], eps)
    height, width = (size // 2 * 2 for size in x.shape[2:])
    x = x[:, :, :height, :width]
    x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    x = torch.maximum(x[..., ::2], x[..., 1::2])
    return torch.batch_norm(x, gamma, beta, mean, variance, False, 0.0, 0.0, False)


def _moments(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The mean and variance + eps of each channel, [C] each."""
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
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_further("normalize_and_pool is differentiable once")
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
    """dL/dx, dL/dgamma and dL/dbeta for constant moments.

    The CPU kernel reads the variance; CUDA kernels may read either the variance or rstd.
    """
    gradients: tuple[Tensor, Tensor, Tensor] = NORM_BACKWARD(
        gy, x, gamma, mean, variance, mean, rstd, False, 0.0, ALL_GRADIENTS
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
        if rows < len(x):  # the eval-mode kernel, with the moments of the first rows
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
    """The first derivatives: (dL/dy, x, gamma) -> dL/dx, dL/dgamma, dL/dbeta; mu and r depend on x."""

    @staticmethod
    def forward(
        ctx: Any, gy: Tensor, x: Tensor, gamma: Tensor, mean: Tensor, rstd: Tensor, rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """dL/dx = gamma r (dL/dy - [row < m] (sum(dL/dy) + z sum(z dL/dy)) / m)."""
        everything = rows == len(x)
        if everything:
            gx, ggamma, gbeta = NORM_BACKWARD(gy, x, gamma, None, None, mean, rstd, True, 0.0, ALL_GRADIENTS)
        else:
            gx, ggamma, gbeta = _backward_held(gy, x, gamma, mean, rstd.pow(-2), rstd)
            _through_moments(gx, x[:rows], gamma, mean, rstd, ggamma, gbeta)
        ctx.save_for_backward(gy, x, gamma, mean, rstd, ggamma, gbeta)
        ctx.everything = everything
        return gx, ggamma, gbeta

    @staticmethod
    def backward(ctx: Any, u: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:
        """The derivatives of sum(u dL/dx) + sum(p dL/dgamma) + sum(q dL/dbeta); all rows must be used.

        Take means over the n rows: A = mean(gy), B = mean(z gy), U = mean(u), V = mean(z u) and
        W = mean(u gy). The sum is n (gamma r (W - A U - B V) + p B + q A); z and r depend on x. Raises
        RuntimeError if only the first rows gave the moments.
        """
        _refuse_further("normalize is differentiable twice")
        if not ctx.everything:
            raise RuntimeError("normalization by the first rows is differentiable once")
        gy, x, gamma, mean, rstd, ggamma, gbeta = ctx.saved_tensors
        n = x.numel() // x.shape[1]
        # gamma r (u - U - z V), n V and n U in one pass.
        by_gy, sum_zu, sum_u = NORM_BACKWARD(u, x, gamma, None, None, mean, rstd, True, 0.0, ALL_GRADIENTS)
        a, b, mean_u, mean_zu = gbeta / n, ggamma / n, sum_u / n, sum_zu / n
        inner = (u * gy).sum(all_but_channels(x)) / n - a * mean_u - b * mean_zu  # W - A U - B V
        scale = gamma * rstd
        by_gy = _affine(by_gy, x, p * rstd, q - p * rstd * mean)
        # h = dL/dz for constant r: (p - gamma r V) gy - gamma r B u; then through z, and through r.
        of_gy, of_u = rstd * (p - scale * mean_zu), -rstd * scale * b
        of_z = -rstd * (b * (p - 2 * scale * mean_zu) + scale * inner)
        constant = -rstd * (p * a - scale * (a * mean_zu + b * mean_u)) - of_z * rstd * mean
        by_x = _affine(gy * _wide(of_gy, x), u, of_u, None)
        by_x = _affine(by_x, x, of_z * rstd, constant)
        return by_gy, by_x, n * rstd * inner, None, None, None


def _refuse_further(message: str) -> None:
    """Raises RuntimeError if the pass that runs is to be differentiated itself (create_graph).

    torch's once_differentiable would look at the gradients that come in only, and miss x and gamma.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(message)


def _affine(total: Tensor, x: Tensor, slope: Tensor, constant: Tensor | None) -> Tensor:
    """total + slope x + constant, per channel, in place."""
    total.addcmul_(x, _wide(slope, x))
    return total if constant is None else total.add_(_wide(constant, x))


def _wide(per_channel: Tensor, x: Tensor) -> Tensor:
    """[C] -> [C, 1, 1] if x holds images; unchanged if it holds vectors."""
    return per_channel.view(-1, *[1] * (x.dim() - 2))


def all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]
