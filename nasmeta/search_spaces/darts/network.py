"""Genotypes as networks: the skeleton of DARTS around them."""

from collections.abc import Collection
from typing import Protocol

import torch
from torch import Tensor, nn

from nasmeta.search_spaces import ops
from nasmeta.search_spaces.cell_ops import (
    FactorizedReduce,
    Table,
    factorized_conv,
    image_channels,
    pool_bn,
    relu_conv_bn,
    relu_depthwise_bn,
    separable_twice,
)
from nasmeta.search_spaces.darts.architecture import INPUTS, Cell, DartsGenotype
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskSpec

STEM = 3
"""The width of the stem, in multiples of the width of the first cell's nodes."""

OPS: Table = {
    "max_pool_3x3": lambda width_in, width, stride: pool_bn("max", width, stride),
    "avg_pool_3x3": lambda width_in, width, stride: pool_bn("avg", width, stride),
    "skip_connect": lambda width_in, width, stride: (
        nn.Identity() if stride == 1 else FactorizedReduce(width_in, width)
    ),
    "conv_1x5_5x1": factorized_conv,
    "conv_3x3": lambda width_in, width, stride: relu_depthwise_bn(width_in, width, stride, dilation=1),
    "sep_conv_3x3": separable_twice,
    "dil_conv_3x3": lambda width_in, width, stride: relu_depthwise_bn(width_in, width, stride, dilation=2),
}


def build(
    arch: DartsGenotype, task: TaskSpec, *, width: int, layers: int, reductions: Collection[int]
) -> FewShotNetwork:
    """The network of `arch` for images [n, *task.input_shape]: stem, `layers` cells, average pooling, head.

    The cells with the indices `reductions`, from 0, halve the size (rounded up) and double the width of the
    nodes, which starts at `width`. Raises ArchitectureError if the task has no images.
    """
    channels = image_channels("darts", task)
    nodes = len(arch.normal)

    def make_cell(before_last: int, last: int, width: int, *, reduce: bool, halved: bool) -> nn.Module:
        cell = arch.reduce if reduce else arch.normal
        return DartsCell(cell, before_last, last, width, reduce=reduce, halved=halved)

    body = DartsBody(make_cell, nodes, channels, width, [number in reductions for number in range(layers)])
    return FewShotNetwork(body, nn.Linear(body.features, task.outputs))


class MakeCell(Protocol):
    """Makes a cell that takes the outputs of the two before it. DartsCell explains the arguments."""

    def __call__(
        self, before_last: int, last: int, width: int, *, reduce: bool, halved: bool
    ) -> nn.Module: ...


class DartsBody(nn.Module):
    """Stem and cells, each fed by the two before it: [n, channels, height, width] -> [n, features].

    make_cell: makes a cell with `nodes` nodes. reduces: for each cell, whether it is a reduction cell.
    """

    def __init__(
        self, make_cell: MakeCell, nodes: int, channels: int, width: int, reduces: list[bool]
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(ops.conv2d(channels, STEM * width, 3), ops.norm2d("bn", STEM * width))
        before_last = last = STEM * width
        halved = False
        self.cells = nn.ModuleList()
        for reduce in reduces:
            width *= 1 + reduce
            self.cells.append(make_cell(before_last, last, width, reduce=reduce, halved=halved))
            before_last, last = last, width * nodes
            halved = reduce
        self.features = last
        self.pool = ops.GlobalAveragePool()

    def forward(self, x: Tensor) -> Tensor:
        before_last = last = self.stem(x)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last)
        features: Tensor = self.pool(last)
        return features


class DartsCell(nn.Module):
    """One cell: the two inputs brought to its width, its nodes, and their concatenation.

    before_last, last: channels of the two inputs. halved: whether the last cell was a reduction cell, so that
    the input before it is twice as large.
    """

    def __init__(
        self, cell: Cell, before_last: int, last: int, width: int, *, reduce: bool, halved: bool
    ) -> None:
        super().__init__()
        self.states = [state for edges in cell for _, state in edges]
        self.prepare = prepare(before_last, last, width, halved=halved)
        self.ops = nn.ModuleList(
            OPS[op](width, width, 2 if reduce and state < INPUTS else 1)
            for edges in cell
            for op, state in edges
        )

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        states = [self.prepare[0](before_last), self.prepare[1](last)]
        ends = list(zip(self.ops, self.states, strict=True))
        for (f, i), (g, j) in zip(ends[::2], ends[1::2], strict=True):
            states.append(f(states[i]) + g(states[j]))
        return torch.cat(states[INPUTS:], dim=1)


def prepare(before_last: int, last: int, width: int, *, halved: bool) -> nn.ModuleList:
    """Brings a cell's two inputs to its width, and the first one to its size if that was halved."""
    return nn.ModuleList(
        [
            FactorizedReduce(before_last, width) if halved else relu_conv_bn(before_last, width, 1, 1),
            relu_conv_bn(last, width, 1, 1),
        ]
    )
