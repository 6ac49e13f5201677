"""Triton's convolutions of tasks with weights of their own, beside PyTorch; on a CPU by its interpreter."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasmeta.meta_learners.gradients import Gradients
from nasmeta.networks import layers
from nasmeta.networks.execution import Execution
from nasmeta.networks.forward_pass import ForwardPass, Kernels
from nasmeta.networks.kernels import stacked
from nasmeta.networks.kernels.triton import convolution_reference as reference
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from tests import scripts
from tests.meta_learners.options import learner as of_option

pytestmark = pytest.mark.extra("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

SHAPES = [  # tasks, images, channels, height, width, outputs, kernel, stride, padding
    (1, 1, 1, 5, 5, 1, 1, 1, 0),
    (3, 2, 1, 7, 6, 5, 3, 1, 1),
    (2, 3, 17, 7, 6, 20, 3, 2, 1),
    (1, 1, 3, 5, 4, 66, 3, 1, 0),
    (1, 2, 2, 7, 6, 3, 5, 1, 2),
    (2, 2, 4, 6, 6, 4, 1, 2, 0),
    (1, 2, 2, 13, 12, 2, 3, 1, 1),
]
"""Odd sizes; maps and channels of more than one block, of less, and of blocks that are not full."""


@pytest.fixture(scope="module")
def convolution() -> ModuleType:
    from nasmeta.networks.kernels.triton import convolution

    return convolution


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=dtype).to(DEVICE).requires_grad_()


def images_and_weight(shape: Sequence[int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    tasks, n, channels, height, width, outputs, kernel = shape[:7]
    x = drawn(tasks, n, channels, height, width, dtype=dtype)
    return x, drawn(tasks, outputs, channels, kernel, kernel, dtype=dtype)


def all_derivatives(convolve: Callable[[Tensor, Tensor], Tensor], x: Tensor, w: Tensor) -> list[Tensor]:
    """The result, both first derivatives, and the derivatives of their squares."""
    y = convolve(x, w)
    first = torch.autograd.grad(y.sin().sum(), [x, w], create_graph=True)
    return [y, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), [x, w])]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_two_derivatives(convolution: ModuleType, shape: tuple[int, ...]) -> None:
    x, w = images_and_weight(shape)
    stride, padding = shape[7:]
    ours = all_derivatives(partial(convolution.convolve, stride=stride, padding=padding), x, w)
    torch.testing.assert_close(
        ours, all_derivatives(partial(reference.forward, stride=stride, padding=padding), x, w)
    )


@pytest.mark.parametrize("shape", SHAPES[2:4], ids=str)
def test_the_reference_states_the_three_operations(shape: tuple[int, ...]) -> None:
    """Beside torch's own convolution and its derivatives."""
    x, w = images_and_weight(shape)
    kernel, stride, padding = shape[6:]
    y = torch.stack([torch.conv2d(*task, None, stride, padding) for task in zip(x, w, strict=True)])
    gy = drawn(*y.shape).detach()
    found = [
        reference.forward(x, w, stride, padding),
        reference.by_input(gy, w, (x.shape[-2], x.shape[-1]), stride, padding),
        reference.by_weight(gy, x, kernel, stride, padding),
    ]
    torch.testing.assert_close(found, [y, *torch.autograd.grad(y, [x, w], gy)])


def test_third_derivatives_are_of_the_second(convolution: ModuleType) -> None:
    """By finite differences."""
    x, w = images_and_weight((1, 1, 2, 4, 3, 2, 3))
    gy = drawn(1, 1, 2, 2, 2)

    def derivatives(x: Tensor, w: Tensor, gy: Tensor) -> tuple[Tensor, ...]:
        y = convolution.convolve(x, w, 2, 1)
        return torch.autograd.grad(y, [x, w], gy, create_graph=True)

    assert torch.autograd.gradgradcheck(derivatives, (x, w, gy), fast_mode=True)


def test_layouts_change_nothing_and_the_result_is_channels_last(convolution: ModuleType) -> None:
    """Images and weights in other layouts, and a weight that all tasks share."""
    x, w = images_and_weight((2, 3, 4, 5, 6, 3, 3))
    y = convolution.convolve(x, w, 1, 1)
    assert y.movedim(2, -1).is_contiguous()
    last = x.detach().movedim(2, -1).contiguous().movedim(-1, 2)
    for weight in (w.movedim(2, -1).contiguous().movedim(-1, 2), w.mT.contiguous().mT):
        assert torch.equal(convolution.convolve(last, weight, 1, 1), y)
    shared = w[0].detach().requires_grad_()
    y = convolution.convolve(x, shared.expand_as(w), 1, 1)
    expected = torch.conv2d(x.flatten(0, 1), shared, padding=1).unflatten(0, (2, 3))
    torch.testing.assert_close(y, expected)
    gradients = (torch.autograd.grad(result.sin().sum(), shared) for result in (y, expected))
    torch.testing.assert_close(*gradients)


def test_long_sums_are_split_in_a_fixed_order(
    convolution: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the places each, the last one smaller, not a multiple of the block; twice the same bits."""
    monkeypatch.setattr(convolution, "ROWS", 50)
    monkeypatch.setattr(convolution, "PROGRAMS", 6)
    x, w = images_and_weight((1, 3, 2, 8, 7, 3, 3), torch.float32)
    gy = drawn(1, 3, 3, 8, 7, dtype=torch.float32)
    one, other = (torch.autograd.grad(convolution.convolve(x, w, 1, 1), w, gy.detach())[0] for _ in range(2))
    assert torch.equal(one, other)
    torch.testing.assert_close(one, reference.by_weight(gy, x, 3, 1, 1).detach())


@pytest.fixture
def bfloat16_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter multiplies the bits of bfloat16 as integers; a GPU does not."""
    from triton.runtime.interpreter import InterpreterBuilder

    of_float32 = InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        for factor in (a, b):
            if factor.data.dtype == np.uint16:
                factor.data = (factor.data.astype(np.uint32) << 16).view(np.float32)
        return of_float32(self, a, b, *others)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)


@pytest.mark.usefixtures("bfloat16_products")
def test_bfloat16_has_sums_of_float32(convolution: ModuleType) -> None:
    x, w = images_and_weight((2, 2, 17, 5, 6, 3, 3), torch.bfloat16)
    y = convolution.convolve(x, w, 1, 1)
    exact = reference.forward(x.float(), w.float(), 1, 1)
    assert y.dtype == torch.bfloat16
    found = [y, *torch.autograd.grad(y.sum(), [x, w])]
    expected = [exact.bfloat16(), *torch.autograd.grad(exact.sum(), [x, w])]
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-6)  # its last bit, which is cut off


def meta_gradient(execution: Execution) -> Gradients:
    learner = of_option("maml", "support", train_steps=1)
    state = init(learner, conv_network(width=2).double()).to(torch.device(DEVICE))
    state.network.execution = execution
    batch = BlobSampler("train", query=1, dtype=torch.float64, device=DEVICE).batch(0, 2)
    return learner.meta_gradient(state, batch, 0)


def test_a_meta_step_of_second_order(convolution: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, convolve = [], convolution.convolve

    def spy(x: Tensor, weight: Tensor, **how: int) -> Tensor:
        calls.append(x.shape[:2])
        return convolve(x, weight, **how)

    monkeypatch.setattr(convolution, "convolve", spy)
    expected = meta_gradient(Execution("vmap"))
    assert not calls
    found = meta_gradient(Execution("vmap", kernels="triton"))
    torch.testing.assert_close(found, expected)
    assert calls == [(2, 5)] * 2 + [(2, 10)] * 2, "a step on five images, then all, through two layers"


@pytest.mark.parametrize(
    "channels, calls", [(1, 1), (stacked.FEW_CHANNELS, 1), (stacked.FEW_CHANNELS + 1, 0)]
)
def test_shared_weights_of_few_channels(
    convolution: ModuleType, monkeypatch: pytest.MonkeyPatch, channels: int, calls: int
) -> None:
    """Beside torch's layer; those of more channels are left to torch."""
    counted = Mock(wraps=convolution.convolve)
    monkeypatch.setattr(convolution, "convolve", counted)
    layer = nn.Conv2d(channels, 3, 3, padding=1).double().to(DEVICE)
    x = drawn(2, channels, 5, 4)
    inputs = [x, layer.weight, layer.bias]
    expected = layer(x)
    found = stacked.StackedConv2d(layer, ForwardPass(triton=True))(x)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.sin().sum(), inputs) for y in (found, expected)]
    torch.testing.assert_close(*gradients)
    assert counted.call_count == calls


@pytest.mark.skipif(DEVICE == "cuda", reason="a GPU computes it: tests/test_cuda.py")
def test_the_interpreter_leaves_bfloat16_to_torch() -> None:
    network, x = nn.Sequential(nn.Conv2d(2, 3, 3)), drawn(2, 2, 5, 5, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(x)
        layers.adopt(network, ForwardPass(kernels=Kernels.PLAIN, triton=True, stacked=True))
        assert torch.equal(network(x), expected)


def test_the_bench_prints_a_line_for_each_shape(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--seconds=0", "1x1x2x3x2x3x1", "2x1x1x4x2x1x2"]
    monkeypatch.setattr("sys.argv", ["convolutions.py", *arguments])
    scripts.load("bench/convolutions.py").main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[-2:]] == arguments[1:]
    assert all(len(cell.split()) == 3 for line in lines[-2:] for cell in line.split("|")[2:5])


COMPILED = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from nasmeta.networks.kernels.triton import convolution_kernels

sizes = {"ROWS": 64, "COLUMNS": 64, "TERMS": 32, "SPAN": 32}
known = {"K": 3, "STRIDE": 2, "BY_INPUT": True, "PRECISION": "tf32", **sizes}
types = {"source": "*fp32", "weight": "*fp32", "slopes": "*fp32", "images": "*fp32", "out": "*fp32"}
for name in ("over_channels", "over_places"):
    kernel = getattr(convolution_kernels, name)
    kinds = {arg: "constexpr" if arg in known else types.get(arg, "i32") for arg in kernel.arg_names}
    constants = {(n,): known[arg] for n, arg in enumerate(kernel.arg_names) if arg in known}
    code = compile(ASTSource(kernel, kinds, constants), target=GPUTarget("cuda", 90, 32)).asm
    print(name, "wgmma" in code["ptx"])
"""


def test_the_kernels_compile_for_the_matrix_units_of_a_card(tmp_path: Path) -> None:
    """The interpreter takes more than the compiler does, which needs no GPU either."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True)
    assert done.stdout.count("True") == 2, done.stderr
