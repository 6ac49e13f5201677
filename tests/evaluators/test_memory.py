"""Memory and flash of deployed networks, against hand counts and against a brute-force count of torch.fx."""

import operator
from collections.abc import Hashable
from math import ceil, prod
from typing import NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from nasmeta.networks.cost import counted_cost
from nasmeta.seeding import stream
from nasmeta.task import TaskSpec
from tests.search_spaces.shipped import shipped

GREY = TaskSpec("classification", (1, 28, 28), 5, 20)
ODD = TaskSpec("classification", (3, 17, 22), 7, 20)


def conv_bytes(text: str, task: TaskSpec = GREY) -> tuple[int | None, int | None]:
    space = shipped("conv", min_downsamples=0)
    cost = counted_cost(space, space.parse(text), task, 8)
    return cost.memory, cost.flash


def test_four_conv_layers() -> None:
    """The first map and its pooled one: 61 KiB; 110 KB of weights."""
    space = shipped("conv")
    int8, floats = (counted_cost(space, space.reference(), GREY, bits) for bits in (8, 32))
    assert int8.memory == 28 * 28 * 64 + 14 * 14 * 64 == 62_720
    weights, biases = 9 * 64 + 3 * 9 * 64 * 64 + 64 * 5, 4 * 64 + 5
    assert int8.flash == weights + 4 * biases == 112_532
    assert (floats.memory, floats.flash) == (4 * 62_720, 4 * (weights + biases))


@pytest.mark.parametrize(
    "first, expected",
    [
        ("conv3-8.bn.relu.stride", 30 * 30 + 8 * 196),  # a map of even sides is padded by an operation
        ("conv1-8.bn.relu.stride", 784 + 8 * 196),
        ("conv3-8.bn.gelu.avg", 8 * 784 + 8 * 196),  # the activation is computed in place
        ("conv3-8.gn.relu.stride", 2 * 8 * 196),  # a group norm reads all before it writes
        ("conv3-8.gn.relu.avg", 2 * 8 * 784),
        ("sep3-8.bn.relu.avg", 8 * 784 + 8 * 196),  # the depthwise convolution writes one channel
        ("conv3-8.bn.relu.max+skip", 3 * 8 * 784),  # the sum reads two maps and writes one
        ("conv3-8.bn.relu.stride+se", 8 + 2 * 8 * 196),  # scaled by a vector, into another map
        ("res3-8.bn.relu.max", 3 * 8 * 784),
    ],
)
def test_one_operation_after_the_other(first: str, expected: int) -> None:
    memory, _ = conv_bytes(f"{first}_conv1-8.bn.relu.stride_gap")
    assert memory == expected


def test_a_shortcut_keeps_its_input_alive() -> None:
    memories = [
        conv_bytes(f"conv3-8.bn.relu.stride_{block}_conv1-8.bn.relu.stride_gap")[0]
        for block in ("conv3-8.bn.relu.none", "conv3-8.bn.relu.none+skip", "sep3-16.bn.relu.none+skip")
    ]
    plain, identity = 2 * 8 * 196, 3 * 8 * 196
    # The projection reads the 8 channels of the input and writes 16, beside the 16 of the branch.
    assert memories == [plain, identity, (16 + 16 + 16) * 196]


@pytest.mark.parametrize("block, biases", [("conv3-8.bn.relu.max", 8), ("conv3-8.gn.relu.max", 2 * 8)])
def test_a_batch_norm_leaves_one_bias_a_channel(block: str, biases: int) -> None:
    _, flash = conv_bytes(f"{block}_conv1-8.bn.relu.max_gap")
    assert flash == 9 * 8 + 8 * 8 + 8 * 5 + 4 * (biases + 8 + 5)


VIEWS = (nn.Identity, nn.Flatten)
IN_PLACE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Tanh)


class Step(NamedTuple):
    """An operation: what it writes, what it reads, the size of the former, and whether it may be in place."""

    writes: Hashable
    reads: list[Hashable]
    size: int
    in_place: bool


def steps_of(module: nn.Module, task: TaskSpec) -> list[Step]:
    """The operations of a network for one image, from its graph; the first one writes the image."""
    traced = fx.symbolic_trace(module)
    ShapeProp(traced).propagate(torch.zeros(2, *task.input_shape))  # batch norms refuse a single value
    layers = dict(traced.named_modules())
    storage: dict[fx.Node, Hashable] = {}
    steps = []
    for node in traced.graph.nodes:
        if node.op in ("output", "get_attr") or "tensor_meta" not in node.meta:  # parameters are in flash
            continue
        reads = [storage[source] for source in node.all_input_nodes if source in storage]
        layer = layers[str(node.target)] if node.op == "call_module" else None
        if isinstance(layer, VIEWS) or node.target is operator.getitem:
            storage[node] = reads[0]
            continue
        if isinstance(layer, nn.Conv2d):
            _, channels, *sizes = node.all_input_nodes[0].meta["tensor_meta"].shape
            if uneven(layer, sizes):
                sides = (size + 2 * int(pad) for size, pad in zip(sizes, layer.padding, strict=True))
                steps.append(Step((node, "padded"), reads, channels * prod(sides), False))
                reads = [(node, "padded")]
        in_place = isinstance(layer, IN_PLACE) or node.target in (torch.relu, torch.sigmoid)
        steps.append(Step(node, reads, node.meta["tensor_meta"].shape.numel() // 2, in_place))
        storage[node] = node
    return steps


def uneven(layer: nn.Conv2d, sizes: list[int]) -> bool:
    """Whether padding that keeps the size, divided by the stride, would differ between two sides."""
    totals = [
        (ceil(size / stride) - 1) * stride + dilation * (kernel - 1) + 1 - size
        for size, stride, dilation, kernel in zip(
            sizes, layer.stride, layer.dilation, layer.kernel_size, strict=True
        )
    ]
    return any(pad and total % 2 for pad, total in zip(layer.padding, totals, strict=True))


def brute_force(module: nn.Module, task: TaskSpec) -> int:
    """The most numbers that live at once, by asking at every step which tensors are needed then or later."""
    steps = steps_of(module, task)

    def read_from(tensor: Hashable, number: int) -> bool:
        return any(tensor in step.reads for step in steps[number:])

    holder: dict[Hashable, Hashable] = {}
    for number, step in enumerate(steps):
        shares = step.in_place and not read_from(step.reads[0], number + 1)
        holder[step.writes] = holder[step.reads[0]] if shares else step.writes
    sizes = {step.writes: step.size for step in steps}
    peaks = []
    for number in range(len(steps)):
        written = enumerate(step.writes for step in steps[: number + 1])
        alive = {holder[tensor] for n, tensor in written if n == number or read_from(tensor, number)}
        peaks.append(sum(sizes[tensor] for tensor in alive))
    return max(peaks)


@settings(max_examples=25, deadline=None)
@example(207, "darts")  # whose peak is where the parameters of a factorized reduction are read
@given(st.integers(0, 10**9), st.sampled_from(["conv", "conv", "conv", "mlp", "nasbench201", "darts"]))
def test_random_networks(number: int, name: str) -> None:
    smaller = {"nasbench201": {"width": 4, "repeats": 1}, "darts": {"width": 4, "layers": 3}}
    space, rng = shipped(name, **smaller.get(name, {})), stream(number, "memory")
    arch, task = space.sample(rng), ODD if number % 2 else GREY
    assert counted_cost(space, arch, task, 8).memory == brute_force(space.build(arch, task), task), arch
