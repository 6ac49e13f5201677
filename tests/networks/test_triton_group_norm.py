"""Group norm, activation and pooling as one operation: its kernels, its formula, and the layers it replaces.

On a machine without a GPU, Triton's interpreter runs the kernels on the CPU.
"""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasmeta import seeding
from nasmeta.meta_learners.base import adopt_population
from nasmeta.networks import execution as execution_module
from nasmeta.networks.execution import Execution
from nasmeta.networks.forward_pass import ForwardPass, Kernels
from nasmeta.networks.group_norm import FusedGroupNorm
from nasmeta.networks.layers import Fusible, adopt, make_plain
from nasmeta.networks.network import Network
from nasmeta.networks.policy import Statistics
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.testing.meta_learners import BlobSampler, init
from tests.meta_learners.options import learner as of_option
from tests.networks.norms import (
    ACTIVATIONS,
    DEVICE,
    EPS,
    POOLINGS,
    assert_near,
    derived,
    doubled,
    drawn,
)
from tests.search_spaces.shipped import shipped

needs_triton = pytest.mark.extra("triton")

# T, n, C, H, W, groups: of 1 to 65 channels, which fill their lanes or do not, odd sizes, one position.
SHAPES = [  # without pooling, with max-pooling, with average pooling, in turn
    *((2, 2, 8, 1, 1, 2), (2, 2, 12, 5, 4, 2), (1, 3, 5, 4, 7, 1)),
    *((1, 2, 130, 2, 3, 2), (2, 2, 20, 3, 3, 1), (2, 2, 48, 2, 2, 8)),
    *((1, 1, 4, 9, 9, 4), (2, 2, 6, 6, 6, 2), (1, 2, 16, 2, 5, 4)),
    *((2, 3, 1, 1, 7, 1), (2, 2, 33, 3, 2, 11), (2, 2, 10, 5, 5, 2)),
]
CASES = [
    (SHAPES[number], activation, pooling)
    for number, (activation, pooling) in enumerate(product(ACTIVATIONS, POOLINGS))
]


@pytest.fixture(autouse=True)
def _few_programs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's time is that of the programs, not of the numbers in them."""
    if request.node.get_closest_marker("extra") and DEVICE == "cpu":
        from nasmeta.networks.kernels.triton import group_norm, norm

        monkeypatch.setattr(norm, "TILE", 2**14)
        monkeypatch.setattr(group_norm, "TILE", 2**14)
        monkeypatch.setattr(group_norm, "LANES", 2**8)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images then need several tiles, and several programs each."""
    from nasmeta.networks.kernels.triton import group_norm

    monkeypatch.setattr(group_norm, "TILE", 64)
    monkeypatch.setattr(group_norm, "LANES", 8)


def compared(tensors: tuple[Tensor, ...], how: tuple[Any, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """The result and its derivatives by the kernels, and those of the formulas in double precision."""
    from nasmeta.networks.kernels.triton.group_norm import group_norm_activation_pool, reference

    return derived(group_norm_activation_pool, tensors, *how), doubled(reference, tensors, *how)


@needs_triton
@pytest.mark.parametrize("shape, activation, pooling", CASES, ids=str)
def test_values_and_derivatives_are_the_formulas(
    shape: tuple[int, ...], activation: str, pooling: str
) -> None:
    assert_near(*compared(drawn(shape), (shape[5], EPS, activation, pooling)), 2e-5)


@needs_triton
@pytest.mark.parametrize("shape", SHAPES[1::3], ids=str)
def test_the_formulas_are_torchs(shape: tuple[int, ...]) -> None:
    from nasmeta.networks.kernels.triton.group_norm import reference

    def of_torch(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        tasks = zip(x, [shape[5]] * len(x), gamma, beta, strict=True)
        return torch.stack([F.max_pool2d(F.gelu(F.group_norm(*task, eps=EPS)), 2) for task in tasks])

    tensors, how = drawn(shape), (shape[5], EPS, "gelu", "max")
    assert_near(doubled(reference, tensors, *how), doubled(of_torch, tensors), 1e-12)


@needs_triton
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("shape", [(2, 2, 12, 7, 6, 4), (1, 2, 48, 3, 3, 8), (1, 1, 40, 5, 5, 2)], ids=str)
def test_tiles_and_programs_change_nothing(shape: tuple[int, ...]) -> None:
    assert_near(*compared(drawn(shape), (shape[5], EPS, "relu", "max")), 2e-5)


@needs_triton
def test_half_precision_is_rounded_once() -> None:
    x, gamma, beta = drawn((2, 3, 12, 5, 4))
    found, expected = compared((x.bfloat16(), gamma, beta), (2, EPS, "silu", "avg"))
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.bfloat16, *[torch.float32] * 2]
    assert_near(found[:2], expected[:2], 2**-7)  # the interpreter cuts digits off, a GPU rounds
    assert_near(found[2:], expected[2:], 1e-2)


@needs_triton
@pytest.mark.parametrize("pooling", POOLINGS)
def test_scales_of_zero(pooling: str) -> None:
    """Images then have no slope, and the scales still have one."""
    x, gamma, beta = drawn((2, 2, 6, 4, 4))
    for scales in (torch.zeros_like(gamma), gamma.where(torch.arange(6, device=DEVICE) % 2 > 0, 0.0)):
        found, expected = compared((x, scales, beta), (2, EPS, "gelu", pooling))
        assert_near(found, expected, 2e-5)
        assert bool(found[1].any()) == bool(scales.any())
        assert bool(found[2].all())


@needs_triton
@pytest.mark.usefixtures("small_tiles")
def test_a_large_offset_costs_only_its_own_rounding() -> None:
    """Sums of squares would lose all digits here: the offset is a thousand deviations, and 1e6 >> 2^-24."""
    tensors = drawn((2, 2, 12, 5, 5), offset=1000.0)
    assert_near(*compared(tensors, (2, EPS, "none", "none")), 1e-3)


@needs_triton
@pytest.mark.parametrize("pooling", POOLINGS)
def test_constant_images_and_equal_maxima(pooling: str) -> None:
    """The variance is 0, and the first of four equal numbers is the maximum, as in torch."""
    x, gamma, beta = drawn((2, 2, 4, 4, 4))
    tensors = (torch.full_like(x, 0.5), gamma, beta)
    assert_near(*compared(tensors, (2, EPS, "silu", pooling)), 1e-4)


@needs_triton
def test_what_is_not_a_number_stays_in_its_group() -> None:
    from nasmeta.networks.kernels.triton.group_norm import group_norm_activation_pool

    x, gamma, beta = drawn((1, 2, 6, 2, 2))
    x[0, 1, 3, 0, 0] = torch.nan
    y = group_norm_activation_pool(x, gamma, beta, 2, EPS, "relu", "max")
    assert y.isnan().all((0, 3, 4)).tolist() == [[False] * 6, [False] * 3 + [True] * 3]
    assert not y[0, 0].isnan().any()


@needs_triton
def test_second_derivatives_are_refused() -> None:
    from nasmeta.networks.kernels.triton.group_norm import group_norm_activation_pool

    x, gamma, beta = (tensor.requires_grad_() for tensor in drawn((1, 2, 4, 2, 2)))
    y = group_norm_activation_pool(x, gamma, beta, 2, EPS, "relu", "max")
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@needs_triton
def test_shapes_on_the_meta_device() -> None:
    from nasmeta.networks.kernels.triton.group_norm import group_norm_activation_pool

    leaves = [tensor.to("meta").requires_grad_() for tensor in drawn((2, 3, 20, 5, 7))]
    y = group_norm_activation_pool(*leaves, 2, EPS, "relu", "max")
    assert y.shape == (2, 3, 20, 2, 3)
    first = torch.autograd.grad(y, leaves, torch.ones_like(y))
    assert [g.shape for g in first] == [leaf.shape for leaf in leaves]


def fused(*layers: nn.Module) -> tuple[str, str, list[type[nn.Module]]]:
    """The activation and the pooling that a norm before `layers` computes, and what else is left there."""
    network = nn.Sequential(nn.GroupNorm(1, 4), *layers)
    assert adopt(network, ForwardPass()) == [], "it depends on no policy"
    left = [type(m) for m in network[1:] if not isinstance(m, Fusible)]
    return network[0].activation, network[0].pooling, left


@pytest.mark.parametrize(
    "layers, expected",
    [
        ([], ("none", "none", [])),
        ([nn.ReLU(), nn.MaxPool2d(2)], ("relu", "max", [])),
        ([nn.MaxPool2d(2), nn.ReLU()], ("relu", "max", [])),
        ([nn.GELU(), nn.AvgPool2d(2)], ("gelu", "avg", [])),
        ([nn.AvgPool2d(2), nn.SiLU()], ("none", "avg", [nn.SiLU])),
        ([nn.MaxPool2d(2), nn.GELU()], ("none", "max", [nn.GELU])),
        ([nn.Tanh(), nn.MaxPool2d(2)], ("none", "none", [nn.Tanh, nn.MaxPool2d])),
        ([nn.ReLU(), nn.MaxPool2d(2), nn.ReLU()], ("relu", "max", [nn.ReLU])),
    ],
)
def test_a_norm_computes_what_follows_if_that_gives_the_same(layers: list[nn.Module], expected: Any) -> None:
    assert fused(*layers) == expected


def test_the_layers_are_torchs_where_they_do_not_fuse() -> None:
    """With the same bits, the same weights under the same names, and no random number used up."""
    layers = [nn.GroupNorm(2, 8, eps=1e-3), nn.MaxPool2d(2), nn.ReLU(), nn.GroupNorm(2, 8, affine=False)]
    network, x = nn.Sequential(*layers), drawn((1, 3, 8, 5, 4))[0][0].cpu().requires_grad_()
    expected, weights, random = network(x), dict(network.named_parameters()), torch.get_rng_state()
    slope = torch.autograd.grad(expected.square().sum(), x)
    adopt(network, ForwardPass())
    kinds = [FusedGroupNorm, Fusible, Fusible, nn.GroupNorm]
    assert [type(layer) for layer in network] == kinds
    found = network(x)
    assert torch.equal(found, expected)
    assert torch.equal(*torch.autograd.grad(found.square().sum(), x), *slope)
    adopt(network, ForwardPass())
    assert [type(layer) for layer in network] == kinds, "ours are left as they are"
    make_plain(network)
    assert list(network) == [network[0], *layers[1:]]
    assert type(network[0]) is nn.GroupNorm
    assert (network[0].num_groups, network[0].num_channels, network[0].eps) == (2, 8, 1e-3)
    assert all(one is weights[name] for name, one in network.named_parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(network(x), expected)


ALL = {"triton": True, "group_norms": True}


@pytest.mark.parametrize(
    "how, expected",
    [
        (ForwardPass(), False),
        (ForwardPass(triton=True), False),
        (ForwardPass(**ALL), True),
        (ForwardPass(Statistics(rows=1, record=True), **ALL), True),
        (ForwardPass(kernels=Kernels.STACKED, stacked=True, **ALL), True),
        (ForwardPass(kernels=Kernels.TWICE, twice=True, **ALL), False),
    ],
)
def test_passes_that_fuse(how: ForwardPass, expected: bool) -> None:
    assert how.fuses(torch.zeros(1, 4, 1, 1), "gelu", "group") == expected
    assert not how.fuses(torch.zeros(1, 4), "gelu", "group")
    assert not how.fuses(torch.zeros(1, 4, 1, 1, dtype=torch.float64), "gelu", "group")


BLOCKS = (
    "conv3-8.gn.gelu.avg_sep3-12.gn.silu.max_res3-16.gn.relu.none_gap",
    "conv3-8.gn.relu.max_conv3-12.gn.relu.max+skip_sep3-48.gn.relu.none+se_flatten",
    "sep3-8.gn.silu.avg+se_res3-16.gn.gelu.max_conv1-8.bn.relu.none_gap",
)


@needs_triton
@pytest.mark.parametrize("text", BLOCKS)
@pytest.mark.parametrize("stacked", [False, True], ids=["shared", "stacked"])
def test_networks_are_the_same_by_either_kernels(text: str, stacked: bool) -> None:
    """Whatever comes after a norm; with weights that tasks share, or have of their own."""
    space = shipped("conv", widths=[8, 12, 16, 48], min_downsamples=0)
    with seeding.torch_stream(0, "testing", "group norm"):
        module = space.build(space.parse(text), TaskSpec("classification", (1, 9, 10), 2, 8))
        network = Network(module.to(DEVICE))
        own = {name: torch.randn(2, *p.shape) for name, p in network.module.named_parameters()}
        x = torch.randn(2, 3, 1, 9, 10).to(DEVICE)
    found = []
    for kernels in ("torch", "triton"):
        network.execution = Execution(kernels=kernels)  # type: ignore[arg-type]
        values = own if stacked else {name: p[0] for name, p in own.items()}
        leaves = {name: p.to(DEVICE).requires_grad_() for name, p in values.items()}
        y = network(leaves, x if stacked else x[0])
        found.append([y.detach(), *torch.autograd.grad(y.sin().sum(), list(leaves.values()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3 * float(other.abs().max()))


def small() -> FewShotNetwork:
    """For images of 6 x 6: two blocks of convolution, group norm, GELU and average pooling."""
    with seeding.torch_stream(0, "testing", "group norm"):
        blocks = [
            (nn.Conv2d(channels, 4, 3, padding=1), nn.GroupNorm(1, 4), nn.GELU(), nn.AvgPool2d(2))
            for channels in (1, 4)
        ]
        layers = [layer for block in blocks for layer in block]
        return FewShotNetwork(nn.Sequential(*layers, nn.Flatten()), nn.Linear(4, 2))


def batch(name: str) -> TaskBatch:
    """Two tasks of two classes."""
    support_x, support_y, query_x, *rest = BlobSampler(name, way=2, query=1, device=DEVICE).batch(0, 2)
    return TaskBatch(support_x[..., 4:10, 4:10], support_y, query_x[..., 4:10, 4:10], *rest)


def outcome(name: str, execution: Execution) -> list[Tensor]:
    """A meta-gradient, metrics and predictions; MAML's gradient is of second order."""
    options = {"train_way": None} if name == "protonet" else {"train_steps": 1, "test_steps": 1}
    learner = of_option(name, "support", **options)
    state = init(learner, small(), TaskSpec("classification", (1, 6, 6), 2, 40)).to(torch.device(DEVICE))
    state.network.execution = execution
    gradients, metrics = learner.meta_gradient(state, batch("train"), 0)
    adopt_population(learner, state, [batch("train")])
    return [*gradients.values(), *metrics.values(), learner.predict(state, *batch("valid")[:3])]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, str]]:
    """How many tasks each group norm by Triton had so far, and what it computed after them."""
    from nasmeta.networks.kernels.triton import group_norm

    calls, apply = [], group_norm.group_norm_activation_pool

    def spy(*arguments: Any) -> Tensor:
        calls.append((len(arguments[0]), *arguments[5:7]))
        return apply(*arguments)

    monkeypatch.setattr(group_norm, "group_norm_activation_pool", spy)
    return calls


@needs_triton
@pytest.mark.parametrize(
    "name, parallel, tasks",
    [
        *(("protonet", "vmap", {1}), ("fomaml", "vmap", {2}), ("maml", "loop", {1})),
    ],
)
def test_a_meta_step_is_the_same_by_either_kernels(
    name: str, parallel: Any, tasks: set[int], seen: list[tuple[int, str, str]]
) -> None:
    expected = outcome(name, Execution(parallel))
    assert not seen
    found = outcome(name, Execution(parallel, kernels="triton"))
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-5)
    assert {what[1:] for what in seen} == {("gelu", "avg")}
    assert {what[0] for what in seen} == tasks


@needs_triton
def test_a_meta_step_in_half_precision(seen: list[tuple[int, str, str]]) -> None:
    both = [Execution("vmap", precision="bf16", kernels=kernels) for kernels in ("torch", "triton")]
    losses = [outcome("protonet", execution)[-3] for execution in both]
    torch.testing.assert_close(*losses, rtol=0.1, atol=0.05)
    assert seen


@needs_triton
def test_auto_leaves_group_norms_to_torch(
    seen: list[tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU where it stands for Triton; the settings that are in use tell it from what has them."""
    monkeypatch.setattr(execution_module, "_is_measured", lambda device: True)
    monkeypatch.setattr(execution_module, "_triton_works", lambda device: True)
    device, module = torch.device(DEVICE), small()
    auto = Execution("loop", kernels="auto").resolved(module, device)
    assert auto.kernels == "triton"
    assert auto == auto.resolved(module, device)
    torch.testing.assert_close(outcome("protonet", auto), outcome("protonet", Execution("loop")))
    assert not seen
    assert auto.in_use(device)["kernels"] == "triton"
    named = Execution("loop", kernels="triton").resolved(module, device)
    assert named.in_use(device)["kernels"] == "triton with group norms"


COMPILED = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from nasmeta.networks.kernels.triton import group_norm_kernels

known = {"ACTIVATION": "gelu", "MAX": False, "K": 2, "S": 8, "P": 64, "C": 32}
types = {**dict.fromkeys(("x", "y", "gx", "gy"), "*bf16"), "eps": "fp32", "by_m": "fp32"}
sizes = {"height", "width", "groups", "channels"}
for name in ("forward", "backward"):
    kernel = getattr(group_norm_kernels, name)
    kinds = {arg: "constexpr" if arg in known else "i32" if arg in sizes else types.get(arg, "*fp32")
             for arg in kernel.arg_names}
    constants = {(n,): known[arg] for n, arg in enumerate(kernel.arg_names) if arg in known}
    code = compile(ASTSource(kernel, kinds, constants), target=GPUTarget("cuda", 90, 32)).asm
    print(name, len(code["cubin"]) > 0)
"""


@needs_triton
def test_the_kernels_compile_for_a_card(tmp_path: Path) -> None:
    """The interpreter takes more than the compiler does, which needs no GPU either."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True)
    assert done.stdout.count("True") == 2, done.stderr
