"""Convolutions of T tasks with weights of their own, as matrix products that never write the windows out.

Of one task, with stride s and padding p, over the taps a, b of a kernel of k x k:

    forward    y[n, o, i, j]  = sum over c, a, b of  x[n, c, s i + a - p, s j + b - p]  w[o, c, a, b]
    by input   x'[n, c, h, v] = sum over o, a, b of  y'[n, o, (h + p - a) / s, (v + p - b) / s]  w[o, c, a, b]
    by weight  w'[o, c, a, b] = sum over n, i, j of  y'[n, o, i, j]  x[n, c, s i + a - p, s j + b - p]

Places outside a map, and fractions, count as 0. All three are the derivatives of one trilinear form in x, w
and y', so each is differentiated by the other two, any number of times. convolution_reference.py states them
in PyTorch; convolution_kernels.py has the kernels. They were not run on a GPU yet.

Images [T, n, C, H, W] lie in memory as [T, n, H, W, C]; other layouts are copied first. Weights
[T, O, C, k, k] may have any strides, also 0 for tasks that share them. Sums are in float32 (of float64:
float64), in an order that depends on shapes alone: there are no atomic additions, and block sizes are not
tuned by time, so a resumed run has the same bits. Float32 is multiplied as TF32 if torch's own convolutions
are. Sizes of images and the number of channels are known at run time only; Triton compiles a kernel for each
k, stride, dtype, and block size, and for channels that are 1, divisible by 16, or neither.

`by input` of stride 2 multiplies by zeros for three of four taps, which are fractions.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd import Function

from nasmeta.networks.kernels.triton import convolution_kernels as kernels

PLACES, TERMS = 128, 32
"""The rows of a block, which are places of maps, and the terms of sums that are computed at once."""

PROGRAMS, ROWS = 512, 512
"""`by weight` is split into about PROGRAMS parts if each still sums over ROWS places at least."""


class Geometry(NamedTuple):
    """A convolution, apart from its channels: kernel k, stride, padding, and the size of its input."""

    kernel: int
    stride: int
    padding: int
    height: int
    width: int

    def output(self) -> tuple[int, int]:
        """H', W'."""
        margin = 2 * self.padding - self.kernel
        return (self.height + margin) // self.stride + 1, (self.width + margin) // self.stride + 1


def convolve(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Convolves x [T, n, C, H, W] with weight [T, O, C, k, k] of the same dtype; returns [T, n, O, H', W'].

    The result lies in memory as [T, n, H', W', O]. Under autocast it has that dtype, as torch's convolutions.
    Differentiable any number of times.
    """
    if torch.is_autocast_enabled(x.device.type):
        x, weight = (tensor.to(torch.get_autocast_dtype(x.device.type)) for tensor in (x, weight))
    geometry = Geometry(weight.shape[-1], stride, padding, *x.shape[-2:])
    y: Tensor = _Forward.apply(x, weight, geometry)
    return y


class _Forward(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return _over_channels(x, weight, geometry, geometry.output(), by_input=False)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, _ = ctx.needs_input_grad
        gx = _ByInput.apply(gy, weight, ctx.geometry) if for_x else None
        return gx, _ByWeight.apply(gy, x, ctx.geometry) if for_weight else None, None


class _ByInput(Function):
    @staticmethod
    def forward(ctx: Any, gy: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(gy, weight)
        ctx.geometry = geometry
        size = (geometry.height, geometry.width)
        return _over_channels(gy, weight.transpose(1, 2), geometry, size, by_input=True)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        gy, weight = ctx.saved_tensors
        for_gy, for_weight, _ = ctx.needs_input_grad
        by_gy = _Forward.apply(u, weight, ctx.geometry) if for_gy else None
        return by_gy, _ByWeight.apply(gy, u, ctx.geometry) if for_weight else None, None


class _ByWeight(Function):
    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(gy, x)
        ctx.geometry = geometry
        return _over_places(gy, x, geometry)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        gy, x = ctx.saved_tensors
        for_gy, for_x, _ = ctx.needs_input_grad
        by_gy = _Forward.apply(x, v, ctx.geometry) if for_gy else None
        return by_gy, _ByInput.apply(gy, v, ctx.geometry) if for_x else None, None


def _over_channels(
    source: Tensor, weight: Tensor, geometry: Geometry, size: tuple[int, int], *, by_input: bool
) -> Tensor:
    """`forward` and `by input`: source [T, n, A, ...] and weight [T, B, A, k, k] -> [T, n, B, *size]."""
    tasks, n = source.shape[:2]
    channels = weight.shape[1]
    out = source.new_empty(tasks, n, *size, channels)
    weight = _with_taps_in_order(weight)
    block = _block(channels)
    grid = (triton.cdiv(n * size[0] * size[1], PLACES), triton.cdiv(channels, block), tasks)
    with torch.cuda.device_of(source):
        kernels.over_channels[grid](
            *(_channels_last(source), weight, out, n, *source.shape[3:], source.shape[2], *size, channels),
            *(weight.stride(0), weight.stride(1), weight.stride(2), weight.stride(4), geometry.padding),
            *(geometry.kernel, geometry.stride, by_input, _precision(), PLACES, block, TERMS),
        )
    return out.movedim(-1, 2)


def _over_places(gy: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """`by weight`: gy [T, n, O, H', W'] and x [T, n, C, H, W] -> [T, O, C, k, k]."""
    tasks, n, outputs, *size = gy.shape
    channels = x.shape[2]
    taps = geometry.kernel**2 * channels
    rows, cols = _block(outputs), _block(taps)
    blocks = triton.cdiv(outputs, rows), triton.cdiv(taps, cols)
    places = n * size[0] * size[1]
    parts = max(1, min(PROGRAMS // (tasks * blocks[0] * blocks[1]), places // ROWS))
    sums = torch.float64 if x.dtype == torch.float64 else torch.float32
    partial = x.new_empty(tasks, parts, outputs, geometry.kernel, geometry.kernel, channels, dtype=sums)
    with torch.cuda.device_of(x):
        kernels.over_places[(blocks[0] * blocks[1], parts, tasks)](
            *(_channels_last(gy), _channels_last(x), partial, n, *x.shape[3:], channels, *size, outputs),
            *(geometry.padding, triton.cdiv(places, parts)),
            *(geometry.kernel, geometry.stride, _precision(), rows, cols, TERMS),
        )
    return partial.sum(1).to(x.dtype).movedim(-1, 2)


def _channels_last(images: Tensor) -> Tensor:
    """[T, n, C, H, W] -> [T, n, H, W, C], contiguous; without a copy if its memory is so already."""
    return images.movedim(2, -1).contiguous()


def _with_taps_in_order(weight: Tensor) -> Tensor:
    """The weight with its k x k taps one after the other at one distance."""
    return weight if weight.stride(3) == weight.shape[4] * weight.stride(4) else weight.contiguous()


def _block(size: int) -> int:
    """The columns of a block for `size` columns in all; Triton multiplies 16 at least."""
    return min(64, max(16, 1 << (size - 1).bit_length()))


def _precision() -> str:
    """How float32 is multiplied: as torch's own convolutions do it."""
    return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
