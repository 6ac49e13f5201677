"""The NAS-Bench-201 space against what is published of it."""

import csv
import math
from collections import Counter
from collections.abc import Callable
from itertools import product
from operator import ne
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasmeta.errors import ArchitectureError
from nasmeta.networks.cost import counted_cost
from nasmeta.search_spaces.nasbench201 import Nasbench201Cell
from nasmeta.search_spaces.nasbench201.architecture import OPERATIONS
from nasmeta.seeding import stream, torch_stream
from nasmeta.task import TaskSpec
from tests.datasets.pictures import SHARED_DATA
from tests.search_spaces.shipped import shipped

SPACE: Any = shipped("nasbench201")
CELLS = [Nasbench201Cell(ops) for ops in product(OPERATIONS, repeat=6)]
IMAGES = TaskSpec("classification", (1, 28, 28), 5)
TABLE = SHARED_DATA / "nasbench201_cifar10.csv"
CONV, SKIP, NONE = "nor_conv_3x3", "skip_connect", "none"


def cell(*ops: str) -> Nasbench201Cell:
    return Nasbench201Cell(ops)


# Strings


def test_published_names_and_strings() -> None:
    assert OPERATIONS == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    assert str(cell("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "none")) == (
        "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"
    )


def test_every_string_parses_back() -> None:
    assert len({str(arch) for arch in CELLS}) == SPACE.size == 15625
    assert [SPACE.parse(str(arch)) for arch in CELLS] == CELLS


@pytest.mark.skipif(not TABLE.is_file(), reason=f"no {TABLE.name} in {SHARED_DATA} (NASMETA_SHARED_DATA)")
def test_every_row_of_the_table_is_a_member() -> None:
    with TABLE.open() as file:
        rows = [row["arch"] for row in csv.DictReader(file)]
    archs = [SPACE.parse(row) for row in rows]
    assert [str(arch) for arch in archs] == rows
    assert set(archs) == set(CELLS)


@pytest.mark.parametrize(
    "text, message",
    [
        ("conv3", r"^'conv3' is not a NAS-Bench-201 cell: .*\|op~0\|\+\|op~0\|op~1\|"),
        (
            "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|nor_conv3x3~2|",
            r"^edge 2->3: operation 'nor_conv3x3' is not in the search space; did you mean 'nor_conv_3x3'\?$",
        ),
        ("|none~0|+|none~0|none~1|+|none~1|none~0|none~2|", "is not a NAS-Bench-201 cell"),
    ],
)
def test_what_is_no_cell(text: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        SPACE.parse(text)


# Isomorphisms


def test_there_are_6466_different_cells() -> None:
    assert len({SPACE.canonical(arch) for arch in CELLS}) == 6466


def value(arch: Nasbench201Cell, x: float) -> float:
    """The cell on numbers, with functions that no sum of others equals."""
    functions: dict[str, Callable[[float], float]] = {
        "none": lambda x: 0.0,
        "skip_connect": lambda x: x,
        "nor_conv_1x1": math.sin,
        "nor_conv_3x3": lambda x: math.atan(1.7 * x + 0.3 * x * x),
        "avg_pool_3x3": math.tanh,
    }
    ops = iter(arch.ops)
    nodes = [x]
    for target in (1, 2, 3):
        nodes.append(sum(functions[next(ops)](nodes[source]) for source in range(target)))
    return nodes[3]


def test_isomorphic_cells_compute_the_same() -> None:
    twins = [(arch, SPACE.canonical(arch)) for arch in CELLS]
    assert all(value(a, x) == pytest.approx(value(b, x), abs=1e-9) for a, b in twins for x in (0.31, -1.2))


def test_isomorphic_cells_cost_the_same() -> None:
    rng = stream(0, "costs")
    for arch in (SPACE.sample(rng) for _ in range(6)):
        assert counted_cost(SPACE, arch, IMAGES) == counted_cost(SPACE, SPACE.canonical(arch), IMAGES)


# Draws and edits


def test_every_cell_is_drawn() -> None:
    rng = stream(0, "draws")
    counts = Counter(op for _ in range(2000) for op in enumerate(SPACE.sample(rng).ops))
    assert len(counts) == 30
    assert all(330 < count < 470 for count in counts.values())


def test_edits_change_one_edge() -> None:
    arch, rng = SPACE.reference(), stream(0, "edits")
    expected = [other for other in CELLS if sum(map(ne, arch.ops, other.ops)) == 1]
    assert len(expected) == 24
    assert set(SPACE.neighbors(arch)) == set(expected)
    counts = Counter(SPACE.mutate(arch, rng) for _ in range(2400))
    assert set(counts) == set(expected)
    assert all(60 < count < 140 for count in counts.values())


def test_crossover_takes_edges_from_both() -> None:
    a, b = cell(*[CONV] * 6), cell(*[SKIP] * 6)
    children = {SPACE.crossover(a, b, stream(0, "crossover", i)).ops for i in range(600)}
    assert children == set(product((CONV, SKIP), repeat=6))


# Graphs


def edges(arch: Nasbench201Cell) -> list[str]:
    graph = SPACE.graph(arch)
    names = [f"{i}:{name}" for i, name in enumerate(graph.operations)]
    return [f"{names[i]}>{names[j]}" for i, j in zip(*graph.adjacency.nonzero(), strict=True)]


def test_graph_of_the_reference() -> None:
    assert edges(SPACE.reference()) == [
        "0:input>1:nor_conv_3x3", "0:input>3:skip_connect", "1:nor_conv_3x3>2:nor_conv_3x3",
        "2:nor_conv_3x3>4:skip_connect", "3:skip_connect>5:output", "4:skip_connect>5:output",
    ]  # fmt: skip


def test_graph_leaves_out_what_is_not_used() -> None:
    skip, blind = cell(CONV, NONE, NONE, SKIP, NONE, CONV), cell(CONV, CONV, CONV, NONE, NONE, NONE)
    assert edges(skip) == ["0:input>1:skip_connect", "1:skip_connect>2:output"]
    assert edges(blind) == ["0:input>1:none", "1:none>2:output"]


def test_cells_of_equal_graphs_are_one_function() -> None:
    values: dict[Any, float] = {}
    for arch in CELLS:
        y = value(arch, 0.31)
        assert values.setdefault(SPACE.graph(arch), y) == pytest.approx(y, abs=1e-9)
    assert len(values) < len(CELLS)


# Networks


@pytest.mark.parametrize(
    "op, params, multiply_adds",
    [("skip_connect", 73_306, 7_783_050), ("nor_conv_3x3", 1_531_546, 220_119_690)],
)
def test_published_costs(op: str, params: int, multiply_adds: int) -> None:
    # The smallest and the largest network of the benchmark, whose tables count the 10 biases of the head too.
    space = shipped("nasbench201", width=16, stages=3, repeats=5)
    cost = counted_cost(space, cell(*[op] * 6), TaskSpec("classification", (3, 32, 32), 10))
    assert (cost.params, cost.flops // 2 + 10) == (params, multiply_adds)


def body_cell(arch: Nasbench201Cell) -> Any:
    with torch_stream(0, "cell"):
        body = shipped("nasbench201", width=6, stages=1, repeats=1).build(arch, IMAGES).body
    return body.get_submodule("stage1_cell1").double()


def normal(*shape: int) -> Tensor:
    with torch_stream(0, "inputs"):
        return torch.randn(*shape, dtype=torch.float64)


def test_a_cell_by_hand() -> None:
    built, x = body_cell(cell("nor_conv_1x1", "avg_pool_3x3", CONV, SKIP, NONE, CONV)), normal(4, 6, 5, 7)
    one, pool, two, _, three = built.nodes.ops
    node1 = one(x)
    node2 = pool(x) + two(node1)
    torch.testing.assert_close(built(x), x + three(node2))
    ones = torch.ones(1, 6, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(pool(ones), ones)
    for block, kernel in ((one, 1), (two, 3), (three, 3)):
        assert [type(part) for part in block.children()] == [nn.ReLU, nn.Conv2d, nn.BatchNorm2d]
        assert block.get_submodule("1").kernel_size == (kernel, kernel)


def test_operations_that_are_not_used_are_not_built() -> None:
    dead = cell(CONV, CONV, CONV, SKIP, NONE, NONE)
    assert [type(op) for op in body_cell(dead).nodes.ops] == [nn.Identity]


def test_a_disconnected_cell_is_blind() -> None:
    blind = [arch for arch in CELLS if value(arch, 0.31) == 0 == value(arch, -1.2)]
    assert len(blind) == 341
    with torch_stream(0, "blind"):
        networks = [SPACE.build(arch, IMAGES) for arch in blind[::80]]
    for network in networks:
        output = network(torch.randn(3, 1, 28, 28))
        assert (output == output[0]).all()
        gradients = torch.autograd.grad(output.square().sum(), tuple(network.parameters()))
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("height, width", [(1, 1), (7, 9), (28, 28), (31, 84)])
def test_any_image_size(height: int, width: int) -> None:
    with torch.device("meta"):
        network = SPACE.build(SPACE.reference(), TaskSpec("classification", (3, height, width), 7))
        sizes: list[tuple[int, ...]] = []
        network.body.get_submodule("stage3_cell1").register_forward_hook(
            lambda module, inputs, output: sizes.append(tuple(output.shape[2:]))
        )
        assert network(torch.empty(2, 3, height, width)).shape == (2, 7)
    assert sizes == [(-(-height // 4), -(-width // 4))]


def test_it_needs_images() -> None:
    message = r"^the nasbench201 space needs images of shape .* got \(1,\); use search_space=mlp$"
    with pytest.raises(ArchitectureError, match=message):
        SPACE.build(SPACE.reference(), TaskSpec("regression", (1,), 1))
