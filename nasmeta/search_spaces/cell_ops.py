"""The operations on the edges of cells, and the nodes that they feed, for every cell-based space.

Each space has a table `OPS[name](width_in, width, stride)` of factories that use these operations. Order
within an operation (pre-activation): ReLU, convolution, batch norm. The conventions are those of `ops`:
nothing in place, no running statistics, no bias before a norm.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nasmeta.search_spaces import ops
from nasmeta.search_spaces.sharing import Edge

Factory = Callable[[int, int, int], nn.Module]
Table = Mapping[str, Factory]

# 3x3 poolings. Stride 1 keeps the size; stride 2 halves it, rounded up. An average ignores the padding.
POOLINGS: dict[str, Callable[[int], nn.Module]] = {
    "max": lambda stride: nn.MaxPool2d(3, stride, padding=1),
    "avg": lambda stride: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
}


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
    """Returns zeros. The input gets a zero gradient, so that every parameter has a gradient."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class Nodes(nn.Module):
    """The nodes of a cell: its inputs [n, width, height, width] -> its states, which are inputs, then nodes.

    table: makes the operations. edges: in the order of their targets. A node is the sum of the operations on
    the edges that lead to it. inputs: how many the cell has. stride: of operations on edges from an input.
    """

    def __init__(self, table: Table, edges: Sequence[Edge], width: int, inputs: int, stride: int) -> None:
        super().__init__()
        self.ends = [(source, target) for source, target, _ in edges]
        strides = [stride if source < inputs else 1 for source, _ in self.ends]
        self.ops = nn.ModuleList(
            table[op](width, width, s) for (_, _, op), s in zip(edges, strides, strict=True)
        )

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        states = dict(enumerate(inputs))
        for (source, target), op in zip(self.ends, self.ops, strict=True):
            y = op(states[source])
            states[target] = states[target] + y if target in states else y
        return list(states.values())
