"""What the built networks compute."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import ops
from nasmeta.search_spaces.conv.architecture import ConvBlock
from nasmeta.search_spaces.conv.network import SqueezeExcite, operation
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.seeding import integer, torch_stream
from nasmeta.task import TaskSpec
from tests.search_spaces.shipped import shipped

CONV = "conv3-16.bn.relu.max"


def built(text: str, shape: tuple[int, ...] = (1, 28, 28), outputs: int = 5) -> FewShotNetwork:
    space = shipped("conv" if "-" in text else "mlp")
    with torch_stream(0, "networks"):
        return space.build(space.parse(text), TaskSpec("classification", shape, outputs)).double()


def normal(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(integer(0, "networks"))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_reference_is_the_textbook_network() -> None:
    network = built(str(shipped("conv").reference()), (3, 32, 32))
    layers: list[nn.Module] = []
    for width in (3, 64, 64, 64):
        conv = nn.Conv2d(width, 64, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(64, track_running_stats=False), nn.ReLU(), nn.MaxPool2d(2)]
    textbook = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 2 * 2, 5)).double()
    with torch.no_grad():
        for ours, theirs in zip(network.parameters(), textbook.parameters(), strict=True):
            theirs.copy_(ours)
    x = normal(6, 3, 32, 32)
    torch.testing.assert_close(network(x), textbook(x), rtol=1e-10, atol=1e-12)


def test_mlp_reference_is_two_layers_of_40() -> None:
    network = built("fc40.relu.none_fc40.relu.none", (1,), outputs=1)
    x = normal(7, 1)
    h = x
    for name in ("layer1", "layer2"):
        linear = network.body.get_submodule(f"{name}.branch.0")
        assert isinstance(linear, nn.Linear)
        h = torch.relu(h @ linear.weight.T + linear.bias)
    torch.testing.assert_close(network(x), h @ network.head.weight.T + network.head.bias)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
@pytest.mark.parametrize("pooling", [nn.MaxPool2d(2), nn.AvgPool2d(2)])
def test_pooling_before_or_after_the_activation(activation: str, pooling: nn.Module) -> None:
    kind = "max" if isinstance(pooling, nn.MaxPool2d) else "avg"
    block: Any = built(f"conv3-16.bn.{activation}.{kind}_{CONV}_gap").body.get_submodule("block1")
    x = 2 * normal(2, 1, 8, 8)
    usual = nn.Sequential(*block.branch[:2], ops.ACTIVATIONS[activation](), pooling)
    torch.testing.assert_close(block(x), usual(x), rtol=0, atol=0)
    first = isinstance(block.branch[-1], nn.MaxPool2d)
    assert first == (kind == "max" and activation == "relu")


@pytest.mark.parametrize(
    "width, expected", [(4, 1), (8, 2), (12, 2), (16, 4), (24, 4), (32, 8), (96, 8), (9, 1)]
)
def test_groups_divide_and_are_no_smaller_than_four(width: int, expected: int) -> None:
    assert ops.groups(width) == expected


def test_skip_is_an_identity_where_shapes_agree() -> None:
    body = built("conv3-16.bn.relu.max_conv3-16.bn.relu.max+skip_gap").body
    assert isinstance(body.get_submodule("block2.shortcut"), nn.Identity)
    block = body.get_submodule("block2")
    x = normal(4, 16, 8, 8)
    expected = torch.max_pool2d(torch.relu(block.branch(x) + x), 2)  # type: ignore[operator]
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    "second",
    [
        "conv3-32.bn.relu.max+skip",
        "conv3-16.bn.relu.stride+skip",
        "res3-24.gn.silu.none",
        "res3-16.bn.relu.stride",
    ],
)
def test_skip_projects_where_shapes_change(second: str) -> None:
    body = built(f"conv3-16.bn.relu.max_{second}_conv3-16.bn.relu.max_gap").body
    projection = body.get_submodule("block2.shortcut.0")
    assert isinstance(projection, nn.Conv2d)
    assert projection.kernel_size == (1, 1)
    x = torch.randn(2, 16, 14, 14, dtype=projection.weight.dtype)
    assert projection(x).shape[2:] == ((7, 7) if "stride" in second else (14, 14))


def test_squeeze_excite_scales_channels() -> None:
    with torch_stream(0, "se"):
        module = SqueezeExcite(8).double()
    x = normal(3, 8, 5, 5)
    scale = module(x) / x
    torch.testing.assert_close(scale, scale[:, :, :1, :1].expand_as(x))
    assert ((scale > 0) & (scale < 1)).all()


def test_bottleneck_is_narrow_inside() -> None:
    branch = operation(ConvBlock("res", 64, 5, "bn", "relu", "stride"), 16)
    shapes = [tuple(m.weight.shape) for m in branch if isinstance(m, nn.Conv2d)]
    assert shapes == [(16, 16, 1, 1), (16, 16, 5, 5), (64, 16, 1, 1)]
    assert [m.stride[0] for m in branch if isinstance(m, nn.Conv2d)] == [1, 2, 1]


def test_separable_is_depthwise_then_pointwise() -> None:
    branch = operation(ConvBlock("sep", 64, 3, "bn", "relu", "none"), 16)
    assert [tuple(m.weight.shape) for m in branch if isinstance(m, nn.Conv2d)] == [
        (16, 1, 3, 3),
        (64, 16, 1, 1),
    ]


def test_nothing_is_in_place_tracked_or_biased_before_a_norm() -> None:
    network = built("conv3-16.bn.relu.max_res3-24.gn.silu.avg+se_sep5-32.bn.gelu.stride+skip_flatten")
    for module in network.modules():
        assert not getattr(module, "inplace", False)
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
    assert list(network.buffers()) == []


@pytest.mark.parametrize("size", [16, 17, 28, 31, 84])
@pytest.mark.parametrize("kind", ["max", "avg", "stride"])
def test_any_size_and_shape(size: int, kind: str) -> None:
    text = "_".join([f"conv3-8.bn.relu.{kind}"] * 4 + ["flatten"])
    space = shipped("conv")
    with torch.device("meta"):
        network = space.build(space.parse(text), TaskSpec("classification", (3, size, size + 5), 7))
        assert network(torch.empty(2, 3, size, size + 5)).shape == (2, 7)


def test_flatten_is_free_where_one_position_is_left() -> None:
    x = normal(4, 8, 1, 1).to(memory_format=torch.channels_last)
    assert nn.Flatten()(x).data_ptr() == x.data_ptr()


@pytest.mark.parametrize(
    "shape, message",
    [
        ((1, 8, 8), r"^4 downsamplings need images of at least 16x16, got 8x8$"),
        ((1, 28, 15), r"^4 downsamplings need images of at least 16x16, got 28x15$"),
        (
            (1,),
            r"^the conv space needs images .* \(channels, height, width\), got \(1,\); use search_space=mlp$",
        ),
    ],
)
def test_what_conv_cannot_take(shape: tuple[int, ...], message: str) -> None:
    space = shipped("conv")
    with pytest.raises(ArchitectureError, match=message):
        space.build(space.reference(), TaskSpec("classification", shape, 5))


@pytest.mark.parametrize("norm, biased", [("none", True), ("layer", True), ("batch", False)])
def test_linear_layers_have_no_bias_that_batch_norm_would_remove(norm: str, biased: bool) -> None:
    linear = built(f"fc40.relu.{norm}", (3,)).body.get_submodule("layer1.branch.0")
    assert (linear.bias is not None) == biased


def test_a_strided_projection_of_one_channel_keeps_to_its_memory() -> None:
    """In a process of its own: where the gradient writes too far, the process dies."""
    script = (
        "import torch\nfrom nasmeta.search_spaces.ops import conv2d\n"
        "layer, plain = conv2d(1, 24, 1, 2), torch.nn.Conv2d(1, 24, 1, 2, bias=False)\n"
        "plain.weight = layer.weight\n"
        "x = torch.randn(80, 28, 28, 1).permute(0, 3, 1, 2)\n"
        "x = x.as_strided(x.shape, (784, 1, 28, 1))\n"
        "torch.testing.assert_close(layer(x), plain(x))\n"
        "for _ in range(30):\n"
        "    y = layer(x)\n"
        "    torch.autograd.grad(y, layer.weight, torch.ones_like(y))\n"
        "    filler = [torch.randn(n) for n in (3, 30, 300)]\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
