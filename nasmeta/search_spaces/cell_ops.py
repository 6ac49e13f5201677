"""What the operations on the edges of cells are made of, for every cell-based space.

Each space has a table `OPS[name](width_in, width, stride)` of factories made of these, from which its cells
take one operation an edge, and a supernet all of them. Pre-activation order: ReLU, convolution, batch norm.
The conventions are those of `ops`: nothing in place, no running statistics, no bias before a norm.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import ops
from nasmeta.task import TaskSpec

Factory = Callable[[int, int, int], nn.Module]
Table = Mapping[str, Factory]


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


class Zero(nn.Module):
    """Zeros that the input's gradient flows through, as zeros: every parameter has one."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0
