"""Genotypes as networks: the skeleton of DARTS around them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nasmeta.search_spaces import ops
from nasmeta.search_spaces.cell_ops import (
    FactorizedReduce,
    Nodes,
    Table,
    factorized_conv,
    pool_bn,
    relu_conv_bn,
    relu_depthwise_bn,
    separable_twice,
)
from nasmeta.search_spaces.darts.architecture import INPUTS, DartsGenotype, edges
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.search_spaces.options import image_shape
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.darts.space import DartsSpace

STEM_WIDTHS = 3
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


MakeNodes = Callable[[int, bool], nn.Module]
"""Makes the nodes of a cell, from their width and whether the cell is a reduction cell."""


def build(space: "DartsSpace", arch: DartsGenotype, task: TaskSpec) -> FewShotNetwork:
    """The network of `arch` for images [n, *task.input_shape]: stem, cells, average pooling, head.

    The cells with the indices space.reductions, from 0, halve the size (rounded up) and multiply the width of
    the nodes by space.widening; it starts at space.width. Raises ArchitectureError if the task has no images.
    """

    def make_nodes(width: int, reduce: bool) -> nn.Module:
        cell = arch.reduce if reduce else arch.normal
        return Nodes(OPS, edges(cell), width, inputs=INPUTS, stride=1 + reduce)

    body = DartsBody(space, task, make_nodes)
    return FewShotNetwork(body, nn.Linear(body.features, task.outputs))


class DartsBody(nn.Module):
    """Stem and cells, each fed by the two before it: [n, channels, height, width] -> [n, features].

    space: says how wide and deep it is. make_nodes: makes the nodes of a cell.
    """

    def __init__(self, space: "DartsSpace", task: TaskSpec, make_nodes: MakeNodes) -> None:
        super().__init__()
        width, halved = space.width, False
        before_last = last = STEM_WIDTHS * width
        self.stem = nn.Sequential(ops.conv2d(image_shape("darts", task)[0], last, 3), ops.norm2d("bn", last))
        self.cells = nn.ModuleList()
        for number in range(space.layers):
            reduce = number in space.reductions
            width *= space.widening if reduce else 1
            self.cells.append(DartsCell(before_last, last, width, halved, make_nodes, reduce))
            before_last, last, halved = last, width * space.nodes, reduce
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
    the input before it is twice as large. reduce: whether this one is.
    """

    def __init__(
        self, before_last: int, last: int, width: int, halved: bool, make_nodes: MakeNodes, reduce: bool
    ) -> None:
        super().__init__()
        first = FactorizedReduce(before_last, width) if halved else relu_conv_bn(before_last, width, 1, 1)
        self.prepare = nn.ModuleList([first, relu_conv_bn(last, width, 1, 1)])
        self.nodes = make_nodes(width, reduce)

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        states = self.nodes(self.prepare[0](before_last), self.prepare[1](last))
        return torch.cat(states[INPUTS:], dim=1)
