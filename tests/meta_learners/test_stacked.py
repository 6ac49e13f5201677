"""Layers of many tasks at once, beside the same layers task by task."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasmeta.networks import layers
from nasmeta.networks.forward_pass import ForwardPass
from nasmeta.networks.kernels import stacked
from nasmeta.networks.kernels.batch_norm import normalize

TASKS, N = 3, 4


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions(kernel: int, stride: int, channels: int) -> None:
    """Values, first and second derivatives."""
    x, w = drawn(TASKS, N, channels, 7, 6), drawn(TASKS, 5, channels, kernel, kernel)
    one = stacked.convolve(x, w, stride, kernel // 2)
    other = torch.stack(
        [F.conv2d(a, b, stride=stride, padding=kernel // 2) for a, b in zip(x, w, strict=True)]
    )
    torch.testing.assert_close(one, other)
    found = []
    for y in (one, other):
        first = torch.autograd.grad(y.sin().sum(), [x, w], create_graph=True)
        found.append([*first, *torch.autograd.grad(sum(g.square().sum() for g in first), [x, w])])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("rows", [2, N])
@pytest.mark.parametrize("size", [(), (6, 5)])
def test_norms(rows: int, size: tuple[int, ...]) -> None:
    x, gamma, beta = drawn(TASKS, N, 3, *size), drawn(TASKS, 3), drawn(TASKS, 3)
    each = [normalize(*task, rows, 1e-5) for task in zip(x, gamma, beta, strict=True)]
    torch.testing.assert_close(stacked.norm(x, gamma, beta, rows, 1e-5), torch.stack(each))


def test_pooling() -> None:
    x = drawn(TASKS, N, 3, 7, 6)
    torch.testing.assert_close(stacked.pool(x), torch.stack([F.max_pool2d(task, 2) for task in x]))


def test_below_vmap_a_function_has_all_tasks() -> None:
    x, w = drawn(TASKS, N, 2), drawn(N, 2)
    seen = []

    def product(x: Tensor, w: Tensor) -> Tensor:
        seen.append((x.shape, w.shape))
        return x * w

    y = torch.vmap(lambda x: stacked.below_vmap(product, x, w))(x)
    torch.testing.assert_close(y, x * w)
    assert seen == [((TASKS, N, 2), (TASKS, N, 2))]
    (gradient,) = torch.autograd.grad(y.sum(), w)
    torch.testing.assert_close(gradient, x.detach().sum(0))


@pytest.mark.parametrize(
    "options", [{"groups": 2}, {"dilation": 2}, {"stride": (1, 2)}, {"padding_mode": "reflect", "padding": 1}]
)
def test_only_plain_convolutions_are_taken_over(options: dict[str, object]) -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, **options))  # type: ignore[arg-type]
    layers.adopt(network, ForwardPass())
    assert [type(layer) for layer in network] == [stacked.StackedConv2d, nn.Conv2d]


def test_own_layers_leave_and_draw_nothing() -> None:
    """The weights are the same ones, no random number is used up, and torch's own layers come back."""
    network = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), nn.Conv2d(4, 4, 1))
    weights, random = list(network.parameters()), torch.get_rng_state()
    layers.adopt(network, ForwardPass())
    assert all(one is other for one, other in zip(network.parameters(), weights, strict=True))
    layers.make_plain(network)
    assert [type(layer) for layer in network] == [nn.Conv2d, nn.Conv2d]
    assert (network[0].stride, network[0].padding, network[0].bias) == ((2, 2), (1, 1), None)
    assert all(one is other for one, other in zip(network.parameters(), weights, strict=True))
    assert torch.equal(torch.get_rng_state(), random)
