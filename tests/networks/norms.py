"""What the tests of norms by Triton share: images, derivatives along a direction, and their comparison."""

from typing import Any

import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ACTIVATIONS, POOLINGS = ("none", "relu", "gelu", "silu"), ("none", "max", "avg")
EPS = 1e-5


def drawn(shape: tuple[int, ...], seed: int = 0, offset: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """x, gamma and beta; gamma has both signs, and x is channels_last."""
    tasks, n, channels, height, width, *_ = shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tasks, n, height, width, channels, generator=generator) + offset
    gamma, beta = torch.randn(2, tasks, channels, generator=generator)
    return x.permute(0, 1, 4, 2, 3).to(DEVICE), gamma.to(DEVICE), beta.to(DEVICE)


def derived(function: Any, tensors: tuple[Tensor, ...], *how: Any) -> list[Tensor]:
    """The result of function(*tensors, *how), and its derivatives by the tensors along a fixed direction."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    y = function(*leaves, *how)
    direction = torch.linspace(-1, 1, y.numel(), device=DEVICE).sin().view(y.shape).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, direction)]


def doubled(function: Any, tensors: tuple[Tensor, ...], *how: Any, derived: Any = derived) -> list[Tensor]:
    """What `derived` returns, in double precision."""
    precise = [part and tuple(p.double() for p in part) if isinstance(part, tuple) else part for part in how]
    found: list[Tensor] = derived(function, tuple(tensor.double() for tensor in tensors), *precise)
    return found


def assert_near(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Within `tolerance` of the largest number of each tensor."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert float((one.double() - other).abs().max()) <= tolerance * max(1.0, float(other.abs().max()))
