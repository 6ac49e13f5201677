"""Norm, activation and pooling as one operation: its kernels, its formula, and the layers that it replaces.

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
from nasmeta.networks.batch_norm import EpisodicBatchNorm
from nasmeta.networks.execution import Execution
from nasmeta.networks.forward_pass import ForwardPass, Kernels
from nasmeta.networks.layers import Fusible, adopt, make_plain
from nasmeta.networks.policy import Statistics
from nasmeta.search_spaces.conv.space import ConvSpace
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

needs_triton = pytest.mark.extra("triton")
# T, n, C, H, W, rows: odd sizes, one channel, channels that fill no block or several, one task, fewer rows.
SHAPES = [  # without pooling, with max-pooling, with average pooling, in turn
    *((2, 7, 7, 1, 1, 3), (2, 3, 3, 5, 4, 2), (1, 4, 1, 4, 7, 4)),
    *((1, 2, 130, 2, 3, 1), (2, 2, 20, 3, 3, 1), (2, 5, 16, 2, 2, 5)),
    *((1, 1, 4, 9, 9, 1), (2, 7, 5, 6, 6, 4), (1, 2, 17, 2, 5, 2)),
    *((2, 3, 1, 1, 7, 3), (2, 2, 33, 3, 2, 1), (2, 3, 2, 5, 5, 2)),
]
TWICE = [  # T, n, C, H, W
    *(((2, 3, 5, 5, 4), "relu", "max"), ((1, 2, 20, 3, 5), "relu", "avg")),
    *(((2, 4, 1, 2, 3), "relu", "none"), ((1, 4, 4, 3, 3), "none", "max")),
    *(((2, 2, 3, 4, 5), "none", "avg"), ((1, 7, 130, 1, 1), "none", "none")),
]
CASES = [
    (SHAPES[number], activation, pooling)
    for number, (activation, pooling) in enumerate(product(ACTIVATIONS, POOLINGS))
]


@pytest.fixture(autouse=True)
def _few_programs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's time is that of the programs, not of the numbers in them."""
    if request.node.get_closest_marker("extra") and DEVICE == "cpu":
        from nasmeta.networks.kernels.triton import norm

        monkeypatch.setattr(norm, "TILE", 2**14)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images then need several tiles and splits."""
    from nasmeta.networks.kernels.triton import norm

    monkeypatch.setattr(norm, "TILE", 256)
    monkeypatch.setattr(norm, "SPLITS", 4)


def derived_twice(function: Any, tensors: tuple[Tensor, ...], *how: Any) -> list[Tensor]:
    """What `derived` returns, differentiated along fixed directions by the direction and the tensors."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    y = function(*leaves, *how)
    direction = torch.linspace(-1, 1, y.numel(), device=DEVICE).sin().view(y.shape).to(y.dtype)
    first = torch.autograd.grad(y, leaves, direction.requires_grad_(), create_graph=True)
    slopes = [torch.linspace(1, 9, g.numel(), device=DEVICE).sin().view(g.shape).to(g.dtype) for g in first]
    return list(torch.autograd.grad(first, [direction, *leaves], slopes, materialize_grads=True))


@needs_triton
@pytest.mark.parametrize("shape, activation, pooling", CASES, ids=str)
def test_values_and_derivatives_are_the_formulas(
    shape: tuple[int, ...], activation: str, pooling: str
) -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    tensors, how = drawn(shape), (shape[5], EPS, activation, pooling, None)
    assert_near(derived(norm_activation_pool, tensors, *how), doubled(reference, tensors, *how), 2e-5)


@needs_triton
def test_maps_beyond_the_kernels_reach_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the pooled map, which the activation after it sees, would be within reach."""
    from nasmeta.networks.kernels.triton import norm

    layers = nn.Sequential(nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.ReLU()).to(DEVICE)
    adopt(layers, ForwardPass(triton=True))
    x = torch.linspace(-9, 9, 32 * 8 * 144, device=DEVICE).sin().view(32, 8, 12, 12)
    expected = layers(x)
    monkeypatch.setattr(norm, "MOST_NUMBERS", x.numel() // 3)
    monkeypatch.setattr(norm._NormActivationPool, "apply", None)
    found = layers(x)
    assert found.min() == 0
    torch.testing.assert_close(found, expected)


@needs_triton
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("shape", [(2, 5, 5, 7, 6, 4), (1, 2, 130, 3, 3, 1)], ids=str)
def test_tiles_and_splits_change_nothing(shape: tuple[int, ...]) -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    tensors, how = drawn(shape), (shape[5], EPS, "relu", "max", None)
    assert_near(derived(norm_activation_pool, tensors, *how), doubled(reference, tensors, *how), 2e-5)


@needs_triton
@pytest.mark.parametrize("pooling", POOLINGS)
def test_given_moments_are_constants(pooling: str) -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    tensors = drawn((2, 3, 5, 4, 5, 0))
    moments = drawn((2, 3, 5, 1, 1), seed=1)[1], drawn((2, 3, 5, 1, 1), seed=2)[2].square() + 0.1
    how = (3, EPS, "gelu", pooling, moments)
    assert_near(derived(norm_activation_pool, tensors, *how), doubled(reference, tensors, *how), 2e-5)


@needs_triton
def test_half_precision_is_rounded_once() -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    x, gamma, beta = drawn((2, 5, 6, 4, 4, 0))
    tensors, how = (x.bfloat16(), gamma, beta), (5, EPS, "silu", "avg", None)
    found = derived(norm_activation_pool, tensors, *how)
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.bfloat16, *[torch.float32] * 2]
    expected = doubled(reference, tensors, *how)
    assert_near(found[:2], expected[:2], 2**-7)  # the interpreter cuts digits off, a GPU rounds
    assert_near(found[2:], expected[2:], 1e-2)


@needs_triton
@pytest.mark.usefixtures("small_tiles")
def test_a_large_offset_costs_only_its_own_rounding() -> None:
    """Sums of squares would lose all digits here: the offset is a thousand deviations, and 1e6 >> 2^-24."""
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    tensors, how = drawn((2, 6, 3, 5, 5, 0), offset=1000.0), (6, EPS, "none", "none", None)
    assert_near(derived(norm_activation_pool, tensors, *how), doubled(reference, tensors, *how), 1e-3)


@needs_triton
@pytest.mark.parametrize("pooling", POOLINGS)
def test_constant_channels_and_equal_maxima(pooling: str) -> None:
    """The variance is 0, and the first of four equal numbers is the maximum, as in torch."""
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    x, gamma, beta = drawn((2, 3, 4, 4, 4, 0))
    tensors, how = (torch.full_like(x, 0.5), gamma, beta), (3, EPS, "silu", pooling, None)
    assert_near(derived(norm_activation_pool, tensors, *how), doubled(reference, tensors, *how), 1e-4)


@needs_triton
def test_what_is_not_a_number_stays_so() -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool

    x, gamma, beta = drawn((1, 2, 3, 2, 2, 0))
    x[0, 0, 1, 0, 0] = torch.nan
    y = norm_activation_pool(x, gamma, beta, 2, EPS, "relu", "max")
    assert y.isnan().any((0, 1, 3, 4)).tolist() == [False, True, False]


@needs_triton
@pytest.mark.parametrize("shape, activation, pooling", TWICE, ids=str)
def test_second_derivatives_are_those_of_the_formulas(
    shape: tuple[int, ...], activation: str, pooling: str
) -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    tensors, how = drawn(shape), (shape[1], EPS, activation, pooling, None)
    found = derived_twice(norm_activation_pool, tensors, *how)
    assert_near(found, doubled(reference, tensors, *how, derived=derived_twice), 5e-5)


@needs_triton
@pytest.mark.usefixtures("small_tiles")
def test_tiles_and_splits_change_no_second_derivative() -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    tensors, how = drawn((2, 3, 18, 5, 3)), (3, EPS, "relu", "max", None)
    found = derived_twice(norm_activation_pool, tensors, *how)
    assert_near(found, doubled(reference, tensors, *how, derived=derived_twice), 5e-5)


@needs_triton
def test_second_derivatives_in_half_precision() -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    x, gamma, beta = drawn((2, 5, 6, 4, 4))
    tensors, how = (x.bfloat16(), gamma, beta), (5, EPS, "relu", "avg", None)
    found = derived_twice(norm_activation_pool, tensors, *how)
    assert [tensor.dtype for tensor in found] == [*[torch.bfloat16] * 2, *[torch.float32] * 2]
    assert_near(found, doubled(reference, tensors, *how, derived=derived_twice), 2e-2)


@needs_triton
@pytest.mark.parametrize("used", [0, 1, 2], ids=["x", "gamma", "beta"])
def test_first_derivatives_that_nothing_depends_on_have_no_slope(used: int) -> None:
    """Autograd gives none for weights that do not adapt."""
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool, reference

    def squared(function: Any, tensors: tuple[Tensor, ...], *how: Any) -> list[Tensor]:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        y = function(*leaves, *how).square().sum()
        (slope,) = torch.autograd.grad(y, leaves[used], create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), leaves))

    tensors, how = drawn((2, 3, 4, 3, 5)), (3, EPS, "relu", "max", None)
    found = squared(norm_activation_pool, tensors, *how)
    assert_near(found, doubled(reference, tensors, *how, derived=squared), 1e-4)


@needs_triton
@pytest.mark.parametrize(
    "rows, activation, given", [(2, "gelu", False), (2, "silu", False), (1, "relu", False), (2, "relu", True)]
)
def test_other_second_derivatives_are_refused(rows: int, activation: Any, given: bool) -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool

    x, gamma, beta = (tensor.requires_grad_() for tensor in drawn((1, 2, 3, 2, 2)))
    moments = (torch.zeros_like(beta), torch.ones_like(beta)) if given else None
    y = norm_activation_pool(x, gamma, beta, rows, EPS, activation, "max", moments)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@needs_triton
def test_a_third_derivative_is_refused() -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool

    x, gamma, beta = (tensor.requires_grad_() for tensor in drawn((1, 2, 3, 2, 2)))
    y = norm_activation_pool(x, gamma, beta, 2, EPS, "none", "none").square().sum()
    (first,) = torch.autograd.grad(y, gamma, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable twice"):
        torch.autograd.grad(first.sum(), x, create_graph=True)


@needs_triton
@pytest.mark.parametrize("shape", [(1, 0, 4, 4, 4), (1, 3, 4, 1, 1)], ids=["no images", "none pooled"])
def test_nothing_has_zero_slopes(shape: tuple[int, ...]) -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool

    leaves = [tensor.requires_grad_() for tensor in drawn((1, 2, 4, 2, 2))[1:]]
    x = torch.zeros(shape, device=DEVICE, requires_grad=True)
    moments = (torch.zeros(1, 4, device=DEVICE), torch.ones(1, 4, device=DEVICE))
    y = norm_activation_pool(x, *leaves, shape[1], EPS, "relu", "max", moments)
    assert y.numel() == 0
    for slope, of in zip(torch.autograd.grad(y.sum(), [x, *leaves]), [x, *leaves], strict=True):
        assert torch.equal(slope, torch.zeros_like(of))


@needs_triton
def test_shapes_on_the_meta_device() -> None:
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool

    leaves = [tensor.to("meta").requires_grad_() for tensor in drawn((2, 3, 20, 5, 7))]
    y = norm_activation_pool(*leaves, 3, EPS, "relu", "max")
    assert y.shape == (2, 3, 20, 2, 3)
    first = torch.autograd.grad(y, leaves, torch.ones_like(y), create_graph=True)
    second = torch.autograd.grad(first, leaves, first, materialize_grads=True)
    assert [g.shape for g in first] == [g.shape for g in second] == [leaf.shape for leaf in leaves]


def network() -> FewShotNetwork:
    """For images of 6 x 6: norms before ReLU and max-pooling, and before GELU."""
    with seeding.torch_stream(0, "testing", "fused"):
        first = [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.ReLU()]
        second = [nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.GELU(), nn.Flatten()]
        return FewShotNetwork(nn.Sequential(*first, *second), nn.Linear(18, 2))


def batch(name: str) -> TaskBatch:
    """Two tasks of two classes."""
    support_x, support_y, query_x, *rest = BlobSampler(name, way=2, query=1, device=DEVICE).batch(0, 2)
    return TaskBatch(support_x[..., 4:10, 4:10], support_y, query_x[..., 4:10, 4:10], *rest)


def outcome(name: str, policy: str, execution: Execution, *, predict: bool = True) -> list[Tensor]:
    """A meta-gradient, metrics and predictions; MAML's gradient is of second order."""
    options = {"train_way": None} if name == "protonet" else {"train_steps": 1, "test_steps": 1}
    learner = of_option(name, policy, **options)
    state = init(learner, network(), TaskSpec("classification", (1, 6, 6), 2, 40)).to(torch.device(DEVICE))
    state.network.execution = execution
    gradients, metrics = learner.meta_gradient(state, batch("train"), 0)
    if not predict:
        return [*gradients.values(), *metrics.values()]
    adopt_population(learner, state, [batch("train")])
    return [*gradients.values(), *metrics.values(), learner.predict(state, *batch("valid")[:3])]


@needs_triton
@pytest.mark.parametrize(
    "name, policy, parallel",
    [
        *(("protonet", "support", "vmap"), ("fomaml", "running", "vmap"), ("maml", "support", "loop")),
        ("maml", "transductive", "vmap"),
    ],
)
def test_a_meta_step_is_the_same_by_either_kernels(
    name: str, policy: str, parallel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasmeta.networks.kernels.triton import norm

    seen, apply = [], norm.norm_activation_pool
    launched, launch = [], norm._launch

    def spy(*arguments: Any) -> Tensor:
        seen.append((len(arguments[0]), *arguments[5:7]))
        return apply(*arguments)

    def spy_on_kernels(kernel: Any, *arguments: Any, **constants: Any) -> None:
        launched.append(kernel)
        launch(kernel, *arguments, **constants)

    monkeypatch.setattr(norm, "norm_activation_pool", spy)
    monkeypatch.setattr(norm, "_launch", spy_on_kernels)
    expected = outcome(name, policy, Execution(parallel))
    assert not seen
    found = outcome(name, policy, Execution(parallel, kernels="triton"))
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-5)
    assert {what[1:] for what in seen} == {("relu", "max"), ("gelu", "none")}
    assert max(tasks for tasks, *_ in seen) == (1 if parallel == "loop" else 2)
    assert (norm.kernels.second_backward in launched) == (name == "maml")


@needs_triton
@pytest.mark.parametrize("name", ["fomaml", "maml"])
def test_a_meta_step_in_half_precision(name: str) -> None:
    both = [Execution("vmap", precision="bf16", kernels=kernels) for kernels in ("torch", "triton")]
    losses = [outcome(name, "support", execution, predict=False)[-2] for execution in both]
    torch.testing.assert_close(*losses, rtol=0.1, atol=0.05)


@needs_triton
@pytest.mark.parametrize("rows", [2, None])
def test_vectors(rows: int | None) -> None:
    """The norm of vectors, beside the same by torch's kernels."""
    x = drawn((2, 4, 3, 1, 1))[0].flatten(0, 1).flatten(1)
    current = ForwardPass()
    norm = EpisodicBatchNorm(nn.BatchNorm1d(3), current, None, "silu").to(DEVICE)
    found = []
    for triton in (False, True):
        current.become(ForwardPass(Statistics(tasks=2, rows=rows), triton=triton))
        found.append(derived(lambda x: norm(x) if current.triton else F.silu(norm(x)), (x,)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def fused(*layers: nn.Module) -> tuple[str, str, list[type[nn.Module]]]:
    """The activation and the pooling that a norm before `layers` computes, and what else is left there."""
    network = nn.Sequential(nn.BatchNorm2d(2), *layers)
    (norm,) = adopt(network, ForwardPass())
    left = [type(m) for m in network[1:] if not isinstance(m, Fusible | nn.Identity)]
    return norm.activation, norm.pooling, left


@pytest.mark.parametrize(
    "layers, expected",
    [
        ([], ("none", "none", [])),
        ([nn.ReLU(), nn.MaxPool2d(2)], ("relu", "max", [])),
        ([nn.MaxPool2d(2), nn.ReLU()], ("relu", "max", [])),
        ([nn.GELU(), nn.AvgPool2d(2)], ("gelu", "avg", [])),
        ([nn.SiLU(), nn.ReLU()], ("silu", "none", [nn.ReLU])),
        ([nn.AvgPool2d(2), nn.SiLU()], ("none", "avg", [nn.SiLU])),
        ([nn.MaxPool2d(2), nn.GELU()], ("none", "max", [nn.GELU])),
        ([nn.MaxPool2d(2), nn.MaxPool2d(2)], ("none", "max", [nn.MaxPool2d])),
        ([nn.GELU("tanh")], ("none", "none", [nn.GELU])),
        ([nn.Tanh(), nn.MaxPool2d(2)], ("none", "none", [nn.Tanh, nn.MaxPool2d])),
        ([nn.ReLU(), nn.MaxPool2d(3)], ("relu", "none", [nn.MaxPool2d])),
        ([nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True)], ("relu", "none", [nn.AvgPool2d])),
    ],
)
def test_a_norm_computes_what_follows_if_that_gives_the_same(layers: list[nn.Module], expected: Any) -> None:
    assert fused(*layers) == expected


def test_the_reference_network_is_fused_block_by_block() -> None:
    space = ConvSpace(
        **{"min_blocks": 2, "max_blocks": 2, "min_downsamples": 2, "max_downsamples": 2, "widths": [4]},
        **{"ops": ["conv3"], "norms": ["bn"], "activations": ["relu"], "downsamples": ["max"]},
        **{"heads": ["flatten"], "skip": False, "squeeze_excite": False},
    )
    module = space.build(space.reference(), TaskSpec("classification", (1, 8, 8), 5, 40))
    norms = adopt(module, ForwardPass())
    assert [(norm.activation, norm.pooling) for norm in norms] == [("relu", "max")] * 2
    make_plain(module)
    assert [type(layer) for layer in module.body.get_submodule("block1.tail").children()] == [nn.ReLU]


@pytest.mark.parametrize(
    "how, activation, expected",
    [
        (ForwardPass(), "relu", False),
        (ForwardPass(triton=True), "gelu", True),
        (ForwardPass(triton=True, twice=True), "gelu", False),
        (ForwardPass(triton=True, twice=True), "silu", False),
        (ForwardPass(triton=True, twice=True), "relu", True),
        (ForwardPass(triton=True, twice=True), "none", True),
        (ForwardPass(Statistics(rows=1), triton=True, twice=True), "relu", False),
        (ForwardPass(Statistics(population=True), triton=True, twice=True), "relu", False),
        (ForwardPass(Statistics(record=True), triton=True), "relu", False),
        (ForwardPass(Statistics(population=True), triton=True, stacked=True), "silu", True),
    ],
)
def test_passes_that_fuse(how: ForwardPass, activation: Any, expected: bool) -> None:
    assert how.fuses(torch.zeros(1), activation, "batch") == expected
    assert not how.fuses(torch.zeros(1, dtype=torch.float64), activation, "batch")


@needs_triton
@pytest.mark.parametrize(
    "layers", [(nn.GELU(), nn.MaxPool2d(2)), (nn.ReLU(), nn.AvgPool2d(2))], ids=["gelu", "relu"]
)
def test_what_follows_a_norm_is_computed_once_in_a_pass_differentiated_twice(layers: Any) -> None:
    """The norm, the activation and the pooling agree who computes it."""
    x, current = drawn((1, 3, 2, 4, 4))[0][0], ForwardPass(kernels=Kernels.TWICE, twice=True)
    network = nn.Sequential(nn.BatchNorm2d(2), *layers).to(DEVICE)
    expected = network(x)
    adopt(network, current)
    for statistics in (Statistics(), Statistics(rows=3)):
        current.become(ForwardPass(statistics, Kernels.TWICE, triton=True, twice=True))
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


COMPILED = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from nasmeta.networks.kernels.triton import norm_kernels

known = {"ACTIVATION": "relu", "MAX": True, "K": 2, "SPLITS": 32, "P": 32, "C": 64}
images = ("x", "y", "gx", "gy", "u", "by_x", "by_gy")
types = {**dict.fromkeys(images, "*bf16"), "eps": "fp32", "by_m": "fp32"}
sizes = {"m", "span", "splits", "positions", "n", "height", "width", "channels"}
first = ("split_moments", "merge_moments", "forward", "sums", "backward")
for name in (*first, "second_sums", "second_backward"):
    kernel = getattr(norm_kernels, name)
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
    assert done.stdout.count("True") == 7, done.stderr
