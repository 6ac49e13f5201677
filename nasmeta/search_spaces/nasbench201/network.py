"""Builds the networks of NAS-Bench-201 cells: the benchmark's skeleton around them."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn

from nasmeta.search_spaces import ops
from nasmeta.search_spaces.cell_ops import POOLINGS, Nodes, Table, Zero, relu_conv_bn
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.search_spaces.nasbench201.architecture import Nasbench201Cell, live_edges
from nasmeta.search_spaces.options import image_shape
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.nasbench201.space import Nasbench201Space

# Every edge keeps width and size, so pooling and skip need no other form.
OPS: Table = {
    "none": lambda width_in, width, stride: Zero(stride),
    "skip_connect": lambda width_in, width, stride: nn.Identity(),
    "nor_conv_1x1": lambda width_in, width, stride: relu_conv_bn(width_in, width, 1, stride),
    "nor_conv_3x3": lambda width_in, width, stride: relu_conv_bn(width_in, width, 3, stride),
    "avg_pool_3x3": lambda width_in, width, stride: POOLINGS["avg"](stride),
}


def build(space: "Nasbench201Space", cell: Nasbench201Cell, task: TaskSpec) -> FewShotNetwork:
    """The network of `cell` for images [n, *task.input_shape]. Raises ArchitectureError for other inputs."""
    edges = live_edges(cell)
    body, features = skeleton(space, task, lambda width: Nodes(OPS, edges, width, inputs=1, stride=1))
    return FewShotNetwork(body, nn.Linear(features, task.outputs))


def skeleton(
    space: "Nasbench201Space", task: TaskSpec, make_nodes: Callable[[int], nn.Module]
) -> tuple[nn.Sequential, int]:
    """The body around the nodes of its cells, make_nodes(width), and its number of features.

    Section 3.1 and figure 1 of the paper: stem (3x3 convolution, norm), then stages of cells. Between two
    stages a residual block doubles the width and halves the size, rounded up. At the end come norm, ReLU and
    average pooling. Raises ArchitectureError if the task has no images.
    """
    channels, width = image_shape("nasbench201", task)[0], space.width
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Sequential(ops.conv2d(channels, width, 3), ops.norm2d("bn", width))
    )
    for stage in range(1, space.stages + 1):
        if stage > 1:
            layers[f"reduction{stage - 1}"] = _reduction(width)
            width *= 2
        for number in range(1, space.repeats + 1):
            layers[f"stage{stage}_cell{number}"] = Cell(make_nodes(width))
    layers["norm"] = ops.norm2d("bn", width)
    layers["relu"] = nn.ReLU()
    layers["gap"] = ops.GlobalAveragePool()
    return nn.Sequential(layers), width


class Cell(nn.Module):
    """A cell, whose output is its last node: [n, width, height, width] -> the same shape."""

    def __init__(self, nodes: nn.Module) -> None:
        super().__init__()
        self.nodes = nodes

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.nodes(x)[-1]
        return output


def _reduction(width: int) -> ops.Block:
    """The residual block of stride 2: two 3x3 convolutions, plus average pooling and a 1x1 convolution."""
    branch = nn.Sequential(relu_conv_bn(width, 2 * width, 3, 2), relu_conv_bn(2 * width, 2 * width, 3, 1))
    # Rounds odd sizes up, as the convolution of stride 2 does. Even sizes are as in the paper.
    shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), ops.conv2d(width, 2 * width, 1))
    return ops.Block(branch, shortcut, nn.Identity())
