"""Builds the networks of NAS-Bench-201 cells: the benchmark's skeleton around them."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from nasmeta.search_spaces import ops
from nasmeta.search_spaces.cell_ops import POOLINGS, Table, Zero, image_channels, relu_conv_bn
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.search_spaces.nasbench201.architecture import NODES, Nasbench201Cell, live_edges
from nasmeta.task import TaskSpec

# Every edge keeps width and size, so pooling and skip need no other form.
OPS: Table = {
    "none": lambda width_in, width, stride: Zero(stride),
    "skip_connect": lambda width_in, width, stride: nn.Identity(),
    "nor_conv_1x1": lambda width_in, width, stride: relu_conv_bn(width_in, width, 1, stride),
    "nor_conv_3x3": lambda width_in, width, stride: relu_conv_bn(width_in, width, 3, stride),
    "avg_pool_3x3": lambda width_in, width, stride: POOLINGS["avg"](stride),
}


def build(cell: Nasbench201Cell, task: TaskSpec, *, width: int, stages: int, repeats: int) -> FewShotNetwork:
    """The network of `cell` for images [n, *task.input_shape]."""
    layers, features = skeleton(
        lambda width: Cell(cell, width), task, width=width, stages=stages, repeats=repeats
    )
    return FewShotNetwork(layers, nn.Linear(features, task.outputs))


def skeleton(
    make_cell: Callable[[int], nn.Module], task: TaskSpec, *, width: int, stages: int, repeats: int
) -> tuple[nn.Sequential, int]:
    """The body around cells, make_cell(width), and its number of features (section 3.1, figure 1).

    Stem (3x3 convolution, norm), then `stages` stages of `repeats` cells. Between two stages a residual block
    doubles the width and halves the size, rounded up. At the end come norm, ReLU and average pooling. Raises
    ArchitectureError if the task has no images.
    """
    channels = image_channels("nasbench201", task)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Sequential(ops.conv2d(channels, width, 3), ops.norm2d("bn", width))
    )
    for stage in range(1, stages + 1):
        if stage > 1:
            layers[f"reduction{stage - 1}"] = _reduction(width)
            width *= 2
        for number in range(1, repeats + 1):
            layers[f"stage{stage}_cell{number}"] = make_cell(width)
    layers["norm"] = ops.norm2d("bn", width)
    layers["relu"] = nn.ReLU()
    layers["gap"] = ops.GlobalAveragePool()
    return nn.Sequential(layers), width


class Cell(nn.Module):
    """The live edges of a cell: [n, width, height, width] -> the same shape."""

    def __init__(self, cell: Nasbench201Cell, width: int) -> None:
        super().__init__()
        self.edges = live_edges(cell)
        self.ops = nn.ModuleList(OPS[op](width, width, 1) for op in self.edges.values())

    def forward(self, x: Tensor) -> Tensor:
        nodes = {0: x}
        for (source, target), op in zip(self.edges, self.ops, strict=True):
            y = op(nodes[source])
            nodes[target] = nodes[target] + y if target in nodes else y
        return nodes[NODES - 1]


def _reduction(width: int) -> ops.Block:
    """The residual block of stride 2: two 3x3 convolutions, plus average pooling and a 1x1 convolution."""
    branch = nn.Sequential(relu_conv_bn(width, 2 * width, 3, 2), relu_conv_bn(2 * width, 2 * width, 3, 1))
    # Rounds odd sizes up, as the convolution of stride 2 does. Even sizes are as in the paper.
    shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), ops.conv2d(width, 2 * width, 1))
    return ops.Block(branch, shortcut, nn.Identity())
