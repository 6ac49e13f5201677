"""The building blocks of the operations on the edges of cells, for every cell-based space.

Each space has a table `OPS[name](width_in, width, stride)` of factories that use them. Its cells take one
operation per edge, and a supernet takes all of them. Order within an operation (pre-activation): ReLU,
convolution, batch norm. The conventions are those of `ops`: nothing in place, no running statistics, no bias
before a norm.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import ops
from nasmeta.task import TaskSpec

Factory = Callable[[int, int, int], nn.Module]
Table = Mapping[str, Factory]

# 3x3. Stride 1 keeps the size, stride 2 halves it, rounded up. An average ignores the padding.
POOLINGS: dict[str, Callable[[int], nn.Module]] = {
    "max": lambda stride: nn.MaxPool2d(3, stride, padding=1),
    "avg": lambda stride: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
}


def image_channels(space: str, task: TaskSpec) -> int:
    """The channels of the task's images. Raises ArchitectureError if it has no images."""
    if len(task.input_shape) != 3:
        raise ArchitectureError(
            f"the {space} space needs images of shape (channels, height, width), got {task.input_shape}; "
            "use search_space=mlp"
        )
    return task.input_shape[0]


def relu_conv_bn(width_in: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    """ReLU, convolution, batch norm."""
    return nn.Sequential(nn.ReLU(), ops.conv2d(width_in, width, kernel, stride), ops.norm2d("bn", width))


def pool_bn(kind: Literal["max", "avg"], width: int, stride: int) -> nn.Sequential:
    """3x3 pooling, batch norm."""
    return nn.Sequential(POOLINGS[kind](stride), ops.norm2d("bn", width))


def relu_depthwise_bn(width_in: int, width: int, stride: int, dilation: int) -> nn.Sequential:
    """ReLU, depthwise 3x3 convolution, 1x1 convolution, batch norm."""
    depthwise = nn.Conv2d(
        width_in, width_in, 3, stride, padding=dilation, dilation=dilation, groups=width_in, bias=False
    )
    return nn.Sequential(nn.ReLU(), depthwise, ops.conv2d(width_in, width, 1), ops.norm2d("bn", width))


def separable_twice(width_in: int, width: int, stride: int) -> nn.Sequential:
    """`relu_depthwise_bn` twice; only the first one has the stride."""
    return nn.Sequential(
        relu_depthwise_bn(width_in, width_in, stride, 1), relu_depthwise_bn(width_in, width, 1, 1)
    )


def factorized_conv(width_in: int, width: int, stride: int) -> nn.Sequential:
    """ReLU, 1x5 convolution, 5x1 convolution, batch norm; both strides are in the first."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(width_in, width, (1, 5), stride, padding=(0, 2), bias=False),
        nn.Conv2d(width, width, (5, 1), padding=(2, 0), bias=False),
        ops.norm2d("bn", width),
    )


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2 side by side, batch norm: halves the size, rounded up.

    The second convolution looks at the positions that the first one skips, one further in height and width.
    Along an odd length there is one fewer of those, so both look at the same positions.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.even = ops.conv2d(width_in, width - width // 2, 1, 2)
        self.odd = ops.conv2d(width_in, width // 2, 1, 2)
        self.norm = ops.norm2d("bn", width)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        height, width = x.shape[2:]
        shifted = x[:, :, 1 - height % 2 :, 1 - width % 2 :]
        y: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return y


class Zero(nn.Module):
    """Returns zeros; a zero gradient flows through to the input, so that every parameter has one."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0
