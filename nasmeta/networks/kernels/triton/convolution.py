"""Convolutions of T tasks with weights of their own, as matrix products that never write the windows out.

Of one task, with stride s and padding p, over the taps a, b of a kernel of k x k:

    forward    y[n, o, i, j]  = sum over c, a, b of  x[n, c, s i + a - p, s j + b - p]  w[o, c, a, b]
    by input   x'[n, c, h, v] = sum over o, a, b of  y'[n, o, (h + p - a) / s, (v + p - b) / s]  w[o, c, a, b]
    by weight  w'[o, c, a, b] = sum over n, i, j of  y'[n, o, i, j]  x[n, c, s i + a - p, s j + b - p]

Places outside a map, and fractions, count as 0. All three are the derivatives of one trilinear form in x, w
and y', so each is differentiated by the other two, any number of times. convolution_reference.py states them
in PyTorch; convolution_kernels.py has the kernels.

Images [T, n, C, H, W] lie in memory as [T, n, H, W, C], weights [T, O, C, k, k] as [T, O, k, k, C]; others
are copied first. Sums are in float32 (of float64: float64), in an order that depends on shapes alone. There
are no atomic additions, and block sizes are not tuned by time, so a resumed run has the same bits. Sizes of
images and the number of channels are known at run time only. Triton compiles a kernel for each k, stride,
dtype and block size, and for channels that are 1, divisible by 16, or neither.

The matrix units have no float32. It is split into three bfloat16 numbers, of whose products the six largest
are added. On an H200 this took 0.4 to 0.8 of the time of float32 products (32 tasks of 80 images, 64
channels, 14x14), with a smaller error (1e-7 of the norm instead of 4e-7). If torch's own convolutions may use
TF32, these do too. Only `by weight` then splits numbers into two and adds three products, because the units
do not read TF32 in the order that its operands have in memory: half the time, and an error of 4e-6 instead of
8e-4.

`by input` of stride 2 multiplies by zeros for three of four taps, which are fractions.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd import Function

from nasmeta.networks.kernels.triton import convolution_kernels as kernels

PLACES, COLUMNS, TERMS = 128, 64, 32
"""At most: the places of maps and the entries of windows in a block, and the terms that are added at once."""

PROGRAMS, ROWS = 2048, 512
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
    tasks, n, entries = source.shape[:3]
    channels = weight.shape[1]
    out = source.new_empty(tasks, n, *size, channels)
    columns, (terms, span) = _block(channels), _terms(geometry.kernel, entries, TERMS)
    grid = (triton.cdiv(n * size[0] * size[1], PLACES), triton.cdiv(channels, columns), tasks)
    with torch.cuda.device_of(source):
        kernels.over_channels[grid](
            *(_channels_last(source), _channels_last(weight), out, n, *source.shape[3:], entries),
            *(*size, channels, geometry.padding, geometry.kernel, geometry.stride, by_input),
            *(_products(source, "tf32"), PLACES, columns, terms, span),
        )
    return out.movedim(-1, 2)


def _over_places(gy: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """`by weight`: gy [T, n, O, H', W'] and x [T, n, C, H, W] -> [T, O, C, k, k]."""
    tasks, n, outputs, *size = gy.shape
    channels, taps = x.shape[2], geometry.kernel**2
    rows, (columns, span) = _block(outputs), _terms(geometry.kernel, channels, COLUMNS)
    blocks = triton.cdiv(outputs, rows) * triton.cdiv(taps, columns // span) * triton.cdiv(channels, span)
    places = n * size[0] * size[1]
    parts = max(1, min(PROGRAMS // (tasks * blocks), places // ROWS))
    sums = torch.float64 if x.dtype == torch.float64 else torch.float32
    partial = x.new_empty(tasks, parts, outputs, geometry.kernel, geometry.kernel, channels, dtype=sums)
    with torch.cuda.device_of(x):
        kernels.over_places[(blocks, parts, tasks)](
            *(_channels_last(gy), _channels_last(x), partial, n, *x.shape[3:], channels, *size, outputs),
            *(geometry.padding, triton.cdiv(places, parts)),
            *(geometry.kernel, geometry.stride, _products(x, "bf16x3"), rows, columns, TERMS, span),
        )
    return partial.sum(1).to(x.dtype).movedim(-1, 2)


def _channels_last(images: Tensor) -> Tensor:
    """[T, n, C, H, W] -> [T, n, H, W, C], contiguous; without a copy if its memory is so already."""
    return images.movedim(2, -1).contiguous()


def _block(size: int) -> int:
    """The columns of a block for `size` columns in all; Triton multiplies 16 at least."""
    return min(64, max(16, 1 << (size - 1).bit_length()))


def _terms(kernel: int, channels: int, most: int) -> tuple[int, int]:
    """How many entries of a window make a block, at most `most`, and how many of these are of one tap."""
    span = min(most, 1 << (channels - 1).bit_length())
    return min(most, max(16, 1 << (kernel**2 * span - 1).bit_length())), span


def _products(x: Tensor, if_tf32: str) -> str:
    """How Triton multiplies float32: `if_tf32` where torch's own convolutions may use TF32."""
    if x.dtype != torch.float32 or x.device.type == "cpu":  # Triton's interpreter knows no other way
        return "ieee"
    return if_tf32 if torch.backends.cudnn.allow_tf32 else "bf16x6"
