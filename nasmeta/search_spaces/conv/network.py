"""Builds the networks of conv architectures."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nasmeta.search_spaces import ops
from nasmeta.search_spaces.conv.architecture import ConvArchitecture, ConvBlock, final_size, image_shape
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskSpec

POOLINGS: dict[str, Callable[[int], nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
MONOTONE = {"relu", "relu6"}
"""The activations f with max(f(a), f(b)) = f(max(a, b)); GELU and SiLU dip below zero."""


def build(arch: ConvArchitecture, task: TaskSpec) -> FewShotNetwork:
    """The network of `arch` for images [n, *task.input_shape]; its weights are PyTorch's default draws.

    Raises ArchitectureError if the task has no images or they are too small for the downsamplings.
    """
    channels = image_shape(arch, task)[0]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, block in enumerate(arch.blocks, 1):
        layers[f"block{number}"] = _block(block, channels, first=number == 1)
        channels = block.width
    height, width = final_size(arch, task)
    # Flattens in logical order whatever the memory format; no copy if one position is left.
    layers[arch.head] = nn.Flatten() if arch.head == "flatten" else ops.GlobalAveragePool()
    features = channels * height * width if arch.head == "flatten" else channels
    return FewShotNetwork(nn.Sequential(layers), nn.Linear(features, task.outputs))


def _block(block: ConvBlock, channels: int, *, first: bool) -> ops.Block:
    width, stride = block.width, 2 if block.downsample == "stride" else 1
    branch = operation(block, channels)
    if block.se:
        branch.append(SqueezeExcite(width))
    shortcut: nn.Module | None = None
    if block.shortcut:
        shortcut = nn.Identity()
        if first or channels != width or stride != 1:  # the first block's input is an image, not features
            shortcut = nn.Sequential(ops.conv2d(channels, width, 1, stride), ops.norm2d(block.norm, width))
    tail = nn.Sequential(ops.ACTIVATIONS[block.activation]())
    if block.downsample == "max" and block.activation in MONOTONE:
        # Pooling first gives the same result. The activation then sees a quarter of the positions, and a
        # meta-learner may fuse the pooling with a norm that is next to it.
        if shortcut is None:
            branch.append(nn.MaxPool2d(2))
        else:
            tail.insert(0, nn.MaxPool2d(2))
    elif block.downsample in POOLINGS:
        tail.append(POOLINGS[block.downsample](2))
    return ops.Block(branch, shortcut, tail)


def operation(block: ConvBlock, channels: int) -> nn.Sequential:
    """The operation of a block. It ends with a norm; the activation follows after the shortcut is added.

    "conv" is convolution, norm. "sep" is depthwise convolution, 1x1 convolution, norm, with nothing in
    between (Chollet 2017, "Xception"). "res" is 1x1 down to max(width // 4, 4), spatial convolution, 1x1 up,
    each with a norm, and the activation in between (He et al. 2016).
    """
    width, kernel, stride = block.width, block.kernel, 2 if block.downsample == "stride" else 1
    if block.op == "conv":
        return nn.Sequential(ops.conv2d(channels, width, kernel, stride), ops.norm2d(block.norm, width))
    if block.op == "sep":
        depthwise = ops.conv2d(channels, channels, kernel, stride, groups=channels)
        return nn.Sequential(depthwise, ops.conv2d(channels, width, 1), ops.norm2d(block.norm, width))
    inner, activation = max(width // 4, 4), ops.ACTIVATIONS[block.activation]
    return nn.Sequential(
        ops.conv2d(channels, inner, 1),
        ops.norm2d(block.norm, inner),
        activation(),
        ops.conv2d(inner, inner, kernel, stride),
        ops.norm2d(block.norm, inner),
        activation(),
        ops.conv2d(inner, width, 1),
        ops.norm2d(block.norm, width),
    )


class SqueezeExcite(nn.Module):
    """Channels scaled by sigmoid(W2 relu(W1 mean(x))), squeezed to max(width // 4, 4) (Hu et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(width // 4, 4)
        self.squeeze = nn.Linear(width, inner)
        self.excite = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))  # [n, width]
        return x * scale[:, :, None, None]
