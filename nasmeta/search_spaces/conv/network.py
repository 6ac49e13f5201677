"""Builds the networks of conv architectures."""

from collections import OrderedDict

from torch import nn

from nasmeta.search_spaces import ops
from nasmeta.search_spaces.conv.architecture import (
    ConvArchitecture,
    ConvBlock,
    final_size,
    image_shape,
)
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskSpec


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
    stride = 2 if block.downsample == "stride" else 1
    branch = ops.BRANCHES[block.op](
        channels,
        block.width,
        kernel=block.kernel,
        stride=stride,
        norm=block.norm,
        activation=block.activation,
    )
    if block.se:
        branch.append(ops.SqueezeExcite(block.width))
    shortcut: nn.Module | None = None
    if block.shortcut:
        # The first block always projects: its input is an image, not features.
        changes = first or channels != block.width or stride != 1
        shortcut = ops.projection(channels, block.width, stride, block.norm) if changes else nn.Identity()
    tail = ops.tail(block.activation, block.downsample)
    if shortcut is None and isinstance(tail[0], nn.MaxPool2d):
        branch.append(tail.pop(0))  # next to the norm, with which a meta-learner may fuse it
    return ops.Block(branch, shortcut, tail)
