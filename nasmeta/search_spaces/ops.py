"""The operations of conv networks: plain modules that torch.func can call.

Images are [n, channels, height, width] in any memory format. Nothing here works in place (for double
backward), keeps statistics (each meta-learner brings its own policy and replaces the batch norms), or reads a
value on the host. A convolution before a norm has no bias: batch norm would subtract it, and both norms have
their own.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "max": lambda: nn.MaxPool2d(2),
    "avg": lambda: nn.AvgPool2d(2),
}
# For these, max(f(a), f(b)) = f(max(a, b)). GELU and SiLU are not monotone: they dip below zero.
MONOTONE = {"relu", "tanh"}


def groups(width: int) -> int:
    """The groups of group norm: the most of 8, 4, 2, 1 that divide `width` into groups of at least 4.

    Smaller groups would reduce a 1x1 map to its bias: one value minus its mean.
    """
    return next((g for g in (8, 4, 2) if width % g == 0 and width // g >= 4), 1)


def norm2d(name: str, width: int) -> nn.Module:
    """ "bn": batch norm on the batch's own statistics; "gn": group norm of `groups(width)`; both affine."""
    return (
        nn.BatchNorm2d(width, track_running_stats=False)
        if name == "bn"
        else nn.GroupNorm(groups(width), width)
    )


def conv2d(width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias. Padding makes stride 1 keep the size and stride 2 halve it, rounded up."""
    if kernel == 1 and stride > 1:
        return StridedPointwise(width_in, width, stride)
    return nn.Conv2d(width_in, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution that first picks every `stride`-th row and column: the same numbers.

    A strided convolution's weight gradient for one channels_last input channel writes past its memory on the
    CPU (seen with torch 2.13, oneDNN: a crash, in tests/search_spaces/test_networks.py).
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__(width_in, width, 1, bias=False)
        self.step = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, :: self.step, :: self.step])


def plain(
    width_in: int, width: int, *, kernel: int, stride: int, norm: str, activation: str
) -> nn.Sequential:
    """Convolution, norm. Branches end with a norm; the activation follows after the shortcut is added."""
    return nn.Sequential(conv2d(width_in, width, kernel, stride), norm2d(norm, width))


def separable(
    width_in: int, width: int, *, kernel: int, stride: int, norm: str, activation: str
) -> nn.Sequential:
    """Depthwise convolution, 1x1 convolution, norm; nothing in between (Chollet 2017, "Xception")."""
    depthwise = conv2d(width_in, width_in, kernel, stride, groups=width_in)
    return nn.Sequential(depthwise, conv2d(width_in, width, 1), norm2d(norm, width))


def bottleneck(
    width_in: int, width: int, *, kernel: int, stride: int, norm: str, activation: str
) -> nn.Sequential:
    """1x1 down to max(width // 4, 4), spatial convolution, 1x1 up, each with a norm (He et al. 2016)."""
    inner = max(width // 4, 4)
    return nn.Sequential(
        conv2d(width_in, inner, 1),
        norm2d(norm, inner),
        ACTIVATIONS[activation](),
        conv2d(inner, inner, kernel, stride),
        norm2d(norm, inner),
        ACTIVATIONS[activation](),
        conv2d(inner, width, 1),
        norm2d(norm, width),
    )


BRANCHES: dict[str, Callable[..., nn.Sequential]] = {"conv": plain, "sep": separable, "res": bottleneck}


def projection(width_in: int, width: int, stride: int, norm: str) -> nn.Sequential:
    """A shortcut that changes the shape: 1x1 convolution, norm."""
    return nn.Sequential(conv2d(width_in, width, 1, stride), norm2d(norm, width))


def tail(activation: str, downsample: str) -> nn.Sequential:
    """The end of a block: activation and pooling.

    If the activation is monotone, max-pooling comes first: the result is the same, and the activation and its
    backward see a quarter of the positions.
    """
    act = ACTIVATIONS[activation]()
    if downsample not in POOLINGS:
        return nn.Sequential(act)
    pool = POOLINGS[downsample]()
    pool_first = downsample == "max" and activation in MONOTONE
    return nn.Sequential(pool, act) if pool_first else nn.Sequential(act, pool)


class SqueezeExcite(nn.Module):
    """Channels scaled by sigmoid(W2 relu(W1 mean(x))), squeezed to max(width // 4, 4) (Hu et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(width // 4, 4)
        self.squeeze = nn.Linear(width, inner)
        self.excite = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))  # [n, width]
        return x * scale[:, :, None, None]


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
