"""The modules that the networks of several spaces are made of; torch.func can call them.

Images are [n, channels, height, width] in any memory format. Nothing here works in place (for double
backward), keeps statistics (each meta-learner brings its own policy and replaces the batch norms), or reads a
value on the host. A convolution before a norm has no bias: batch norm would subtract it, and both norms have
their own.
"""

from collections.abc import Callable

from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def groups(width: int) -> int:
    """The groups of group norm: the most of 8, 4, 2, 1 that divide `width` into groups of at least 4.

    Smaller groups would reduce a 1x1 map to its bias: one value minus its mean.
    """
    return next((g for g in (8, 4, 2) if width % g == 0 and width // g >= 4), 1)


def norm2d(name: str, width: int) -> nn.Module:
    """ "bn": batch norm on the batch's own statistics; "gn": group norm of `groups(width)`; both affine."""
    if name == "bn":
        return nn.BatchNorm2d(width, track_running_stats=False)
    return nn.GroupNorm(groups(width), width)


def conv2d(width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias. Padding makes stride 1 keep the size and stride 2 halve it, rounded up."""
    if kernel == 1 and stride > 1:
        return StridedPointwise(width_in, width, stride)
    return nn.Conv2d(width_in, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution that first picks every `stride`-th row and column; the result is the same.

    width_in, width: its input and output channels.

    It avoids a crash of torch on CPUs: the weight gradient of a strided convolution of one channels_last
    channel writes past its memory (torch 2.13, oneDNN; tests/search_spaces/test_networks.py).
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__(width_in, width, 1, bias=False)
        self.step = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, :: self.step, :: self.step])

    def plain(self) -> nn.Conv2d:
        """The same layer as torch's own, to deploy: with a stride instead of a slice, which copies."""
        conv = nn.Conv2d(self.in_channels, self.out_channels, 1, self.step, bias=False, device="meta")
        conv.weight = self.weight
        return conv


class GlobalAveragePool(nn.Module):
    """[n, channels, height, width] -> [n, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Block(nn.Module):
    """tail(branch(x) + shortcut(x)), or tail(branch(x)) without a shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None, tail: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        out: Tensor = self.tail(y)
        return out
