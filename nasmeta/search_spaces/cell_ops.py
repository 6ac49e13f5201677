"""What the operations on the edges of cells are made of, for every cell-based space.

Each space has a table `OPS[name](width_in, width, stride)` of factories made of these, from which its cells
take one operation an edge, and a supernet all of them. Pre-activation order: ReLU, convolution, batch norm.
The conventions are those of `ops`: nothing in place, no running statistics, no bias before a norm.
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

# 3x3, the size kept at stride 1 and halved upwards at stride 2; an average is over what lies inside the map.
POOLINGS: dict[str, Callable[[int], nn.Module]] = {
    "max": lambda stride: nn.MaxPool2d(3, stride, padding=1),
    "avg": lambda stride: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
}


def image_channels(space: str, task: TaskSpec) -> int:
    """The channels of the task's images; raises ArchitectureError where it has no images."""
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
    """`relu_depthwise_bn` twice, the stride in the first."""
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
    """ReLU, two 1x1 convolutions of stride 2 side by side, batch norm: halves the size, upwards.

    The second convolution looks at the positions that the first one leaves out, one further in height and
    width; along an odd length, which has one fewer of those, both look at the same.
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
    """Zeros that the input's gradient flows through, as zeros: every parameter has one."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0
