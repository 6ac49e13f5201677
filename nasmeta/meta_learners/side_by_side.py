"""Layers of many tasks at once where torch.vmap's own rules are slow: every task with weights of its own.

torch.vmap makes one grouped convolution of T tasks' convolutions, which cuDNN computes group after group, and
takes batch norms and poolings apart.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nasmeta.meta_learners.batch_norm import normalize


class _Below(torch.autograd.Function):
    """function(*tensors) inside torch.vmap, called with the tensors of all tasks, [T, ...]."""

    generate_vmap_rule = False

    @staticmethod
    def forward(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        return function(*(tensor.unsqueeze(0) for tensor in tensors)).squeeze(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], function: Callable[..., Tensor], *tensors: Tensor
    ) -> tuple[Tensor, int]:
        return function(
            *(
                tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
                for tensor, dim in zip(tensors, in_dims[1:], strict=True)
            )
        ), 0


def below_vmap(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    y: Tensor = _Below.apply(function, *tensors)  # type: ignore[no-untyped-call]
    return y


def convolve(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """x [T, n, C, H, W] with weight [T, O, C, k, k] -> [T, n, O, H', W'], as products of matrices.

    The result, and the best layout of x, is [T, O, n, H', W'] in memory.
    """
    k = weight.shape[-1]
    windows = F.pad(x.transpose(1, 2), [padding] * 4).unfold(-2, k, stride).unfold(-2, k, stride)
    shape = windows.shape  # [T, C, n, H', W', k, k]
    columns = windows.permute(0, 1, 5, 6, 2, 3, 4).reshape(shape[0], weight[0, 0].numel(), -1)
    y = torch.bmm(weight.flatten(2), columns)
    return y.view(*y.shape[:2], *shape[2:5]).transpose(1, 2)


def norm(x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
    """x [T, n, C, ...], gamma, beta [T, C]: `normalize` of each task."""
    channels = x.transpose(0, 1).flatten(1, 2)  # [n, T * C, ...]: a view of a convolution's result
    y = normalize(channels, gamma.flatten(), beta.flatten(), rows, eps)
    return y.unflatten(1, gamma.shape).transpose(0, 1)


def pool(x: Tensor) -> Tensor:
    """Max-pooling of 2x2 of x [T, n, C, H, W]."""
    planes = x.transpose(1, 2)  # [T, C, n, H, W]
    y = F.max_pool2d(planes.flatten(0, 1), 2)
    return y.unflatten(0, planes.shape[:2]).transpose(1, 2)
