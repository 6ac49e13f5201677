"""Layers for T tasks that each have their own weights [T, ...], used where torch.vmap is slow on a GPU.

torch.vmap turns the convolutions of T tasks into one grouped convolution, whose groups cuDNN computes one
after the other. With five images per task, a matrix product takes a quarter of that time, derivatives
included (H200, 32 tasks, 32 channels, float32). torch.vmap also splits batch norms into elementary operations
and copies images before it pools them, which takes two to three times as long as the kernels called here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasmeta.networks.forward_pass import ForwardPass, Kernels
from nasmeta.networks.kernels.batch_norm import normalize

FEW_CHANNELS = 4
"""Up to how many channels Triton's kernels convolve images for shared weights, as in the first layer.

cuDNN has no fast kernels for so few."""


def convolve(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Convolves x [T, n, C, H, W] with weight [T, O, C, k, k]; returns [T, n, O, H', W'].

    The result lies in memory as [T, O, n, H', W']. Differentiable any number of times. Every window is
    written out, which takes k^2 times the memory of x.
    """
    k = weight.shape[-1]
    windows = F.pad(x.transpose(1, 2), [padding] * 4).unfold(-2, k, stride).unfold(-2, k, stride)
    tasks, channels, n, height, width = windows.shape[:5]
    columns = windows.permute(0, 1, 5, 6, 2, 3, 4).reshape(tasks, channels * k * k, -1)
    y: Tensor = torch.bmm(weight.flatten(2), columns).view(tasks, -1, n, height, width)
    return y.transpose(1, 2)


def norm(x: Tensor, gamma: Tensor, beta: Tensor, rows: int, eps: float) -> Tensor:
    """x [T, n, C, ...] with each task normalized by its first `rows` examples; gamma and beta are [T, C].

    Differentiable as often as `normalize`.
    """
    channels = x.transpose(0, 1).flatten(1, 2)  # [n, T * C, ...], a view of what `convolve` returns
    y = normalize(channels, gamma.flatten(), beta.flatten(), rows, eps)
    stacked: Tensor = y.unflatten(1, gamma.shape)
    return stacked.transpose(0, 1)


def pool(x: Tensor) -> Tensor:
    """2x2 max-pooling: x [T, n, C, H, W] -> [T, n, C, H // 2, W // 2]."""
    planes = x.transpose(1, 2)
    y: Tensor = F.max_pool2d(planes.flatten(0, 1), 2).unflatten(0, planes.shape[:2])
    return y.transpose(1, 2)


class StackedConv2d(nn.Conv2d):
    """An nn.Conv2d that computes all tasks of a stacked pass at once: by Triton's kernels, or by `convolve`.

    conv: the layer that it replaces, with the same weight and bias. current: the network's pass.
    """

    def __init__(self, conv: nn.Conv2d, current: ForwardPass) -> None:
        super().__init__(**_options(conv))
        self.weight, self.bias = conv.weight, conv.bias
        self.current = current

    @staticmethod
    def supports(conv: nn.Conv2d) -> bool:
        """Whether `convolve` can compute the layer."""
        square = all(len({*sides}) == 1 for sides in (conv.kernel_size, conv.stride, conv.padding))
        return square and conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"

    def forward(self, x: Tensor) -> Tensor:
        """x [n, C, H, W], inside torch.vmap if the tasks have weights of their own."""
        convolve_tasks = self._of_tasks(x)
        if convolve_tasks is None:
            return super().forward(x)
        (stride, _), padding = self.stride, int(self.padding[0])
        of_tasks = partial(convolve_tasks, stride=stride, padding=padding)
        if self.current.stacked:
            y = below_vmap(of_tasks, x, self.weight)
        else:
            y = of_tasks(x.unsqueeze(0), self.weight.unsqueeze(0)).squeeze(0)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def _of_tasks(self, x: Tensor) -> Callable[..., Tensor] | None:
        """What convolves [T, n, C, H, W] faster than torch does, or None."""
        pays = self.current.stacked or self.in_channels <= FEW_CHANNELS
        if self.current.triton and pays and triton_multiplies(x):
            from nasmeta.networks.kernels.triton import convolution  # only with kernels=triton

            return convolution.convolve
        if self.current.kernels is Kernels.STACKED and grouped_are_slow(x.device):
            return convolve
        return None

    def plain(self) -> nn.Conv2d:
        """The same layer as torch's own."""
        conv = nn.Conv2d(**_options(self))
        conv.weight, conv.bias = self.weight, self.bias
        return conv


def _options(conv: nn.Conv2d) -> dict[str, Any]:
    """The arguments of a layer like `conv` whose weights are yet to be set."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    return {name: getattr(conv, name) for name in names} | {"bias": conv.bias is not None, "device": "meta"}


def grouped_are_slow(device: torch.device) -> bool:
    """Whether matrix products beat grouped convolutions; on a CPU they take up to six times as long."""
    return device.type != "cpu"


def triton_multiplies(x: Tensor) -> bool:
    """Whether Triton does so in the dtype of the pass; its interpreter takes bfloat16 for integers."""
    return x.device.type != "cpu" or not torch.is_autocast_enabled("cpu")


def below_vmap(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Calls `function` from inside torch.vmap with the tensors of all tasks at once, [T, ...] each."""
    y: Tensor = _BelowVmap.apply(function, *tensors)  # type: ignore[no-untyped-call]
    return y


class _BelowVmap(torch.autograd.Function):
    """A way out of torch.vmap, which calls `vmap` below; autograd differentiates the operations in there."""

    @staticmethod
    def forward(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        raise RuntimeError("only torch.vmap can call this")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Saves nothing, since autograd differentiates `function` and not this Function."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], function: Callable[..., Tensor], *tensors: Tensor
    ) -> tuple[Tensor, int]:
        stacked = (
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(tensors, in_dims[1:], strict=True)
        )
        return function(*stacked), 0
