"""The DARTS space against what is published of it, enumerations, and closed forms."""

from collections import Counter
from itertools import combinations, permutations, product
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from torch import Tensor, nn

from nasmeta.errors import ArchitectureError, ConfigError
from nasmeta.networks.cost import counted_cost
from nasmeta.search_spaces.cell_ops import FactorizedReduce
from nasmeta.search_spaces.darts import DartsGenotype
from nasmeta.search_spaces.darts.architecture import OPERATIONS, Cell, node
from nasmeta.search_spaces.darts.network import OPS, DartsBody
from nasmeta.seeding import stream, torch_stream
from nasmeta.task import TaskSpec
from tests.search_spaces.shipped import shipped
from tests.search_spaces.tiny import drawn, mutual, reachable

SPACE: Any = shipped("darts")
TWO = ["skip_connect", "conv_3x3"]
IMAGES = TaskSpec("classification", (1, 28, 28), 5)
# The cells that MetaNAS found on mini-ImageNet, as its authors published them.
METANAS = (
    "normal-conv_1x5_5x1.0+conv_3x3.1-conv_3x3.0+sep_conv_3x3.2-dil_conv_3x3.1+conv_1x5_5x1.3"
    "-reduce-sep_conv_3x3.0+conv_3x3.1-conv_3x3.0+sep_conv_3x3.2-conv_3x3.0+dil_conv_3x3.1"
)


# Size and strings


def test_published_names_stay() -> None:
    assert set(OPERATIONS) >= {
        "max_pool_3x3", "avg_pool_3x3", "skip_connect", "conv_1x5_5x1", "conv_3x3", "sep_conv_3x3",
        "dil_conv_3x3",
    }  # fmt: skip


def test_size_is_that_of_the_paper() -> None:
    # Seven operations and four nodes: "(k+1)k/2 x 7^2" choices for each, 10^9 cells, 10^18 networks.
    size = shipped("darts", nodes=4).size
    assert size == (1 * 3 * 6 * 10 * 7**8) ** 2
    assert 1e18 < size < 1.1e18


def test_a_published_genotype() -> None:
    arch = SPACE.parse(METANAS)
    assert str(arch) == METANAS
    assert arch.normal[1] == (("conv_3x3", 0), ("sep_conv_3x3", 2))
    assert arch.reduce[2] == (("conv_3x3", 0), ("dil_conv_3x3", 1))
    assert OverridesParser.create().parse_override(f"arch={METANAS}").value() == METANAS


@pytest.mark.parametrize(
    "text, message",
    [
        ("normal", r"^'normal' is not a genotype of this space: .*'normal', 3 nodes, 'reduce', 3 nodes"),
        (
            METANAS.replace("sep_conv_3x3.0", "sep_conv3x3.0"),
            r"^reduce node 0 \('sep_conv3x3\.0\+conv_3x3\.1'\): operation 'sep_conv3x3' is not in the search "
            r"space; did you mean 'sep_conv_3x3'\?$",
        ),
        (METANAS.replace("5x1.3", "5x1.5"), r"^normal node 2 .*: state '5' is not .*; valid: 0, 1, 2, 3$"),
        (
            METANAS.replace("5x1.0", "5x1.1"),
            r"^normal node 0 .*: a node has two inputs, the lower state first",
        ),
        (METANAS.replace("+conv_3x3.1", "", 1), r"^normal node 0 .*: a node has two inputs"),
        (METANAS.replace("5x1.3", "5x1.03"), r"^normal node 2 .*: state '03' is not in the search space"),
    ],
)
def test_what_is_no_genotype(text: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        SPACE.parse(text)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"ops": ["conv_5x5"]}, r"^search_space\.ops: 'conv_5x5' is unknown; did you mean 'conv_3x3'\?"),
        (
            {"reductions": [1, 4]},
            r"^search_space\.reductions: \[1, 4\].* 0 to 3 .*layers=4",
        ),
        ({"reductions": [2, 1]}, r"^search_space\.reductions: \[2, 1\]"),
        ({"reductions": [1, 1]}, r"^search_space\.reductions: \[1, 1\]"),
    ],
)
def test_mistakes(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shipped("darts", **changed)


# Draws and edits, on two operations and two nodes


def cells(nodes: int) -> list[Cell]:
    """Every cell, written down without the space's code."""
    rows = []
    for number in range(nodes):
        pairs = combinations(range(2 + number), 2)
        rows.append([((a, i), (b, j)) for (i, j), a, b in product(pairs, TWO, TWO)])
    return list(product(*rows))


TINY: Any = shipped("darts", nodes=2, ops=TWO)
MEMBERS = [DartsGenotype(normal, reduce) for normal, reduce in product(cells(2), repeat=2)]


def test_enumeration() -> None:
    assert TINY.size == len(set(MEMBERS)) == (4 * 12) ** 2
    assert reachable(TINY, TINY.initial()) == set(MEMBERS)
    assert mutual(TINY, MEMBERS)
    assert set(drawn(TINY, stream(0, "support"), 25000)) == set(MEMBERS)


def test_draws_are_uniform() -> None:
    space = shipped("darts", nodes=2, ops=["conv_3x3"])
    counts = Counter(drawn(space, stream(0, "uniform"), 1800))
    assert len(counts) == space.size == 9
    assert all(150 < count < 250 for count in counts.values())


def test_mutations_are_operations_and_states_evenly() -> None:
    arch, rng = SPACE.reference(), stream(0, "mutations")
    near = list(SPACE.neighbors(arch))
    assert len(near) == 2 * (6 * 6 + 2 * (0 + 1 + 2))
    drawn = [SPACE.mutate(arch, rng) for _ in range(3000)]
    assert set(drawn) == set(near)
    assert sum(wiring(new) != wiring(arch) for new in drawn) / 3000 == pytest.approx(0.5, abs=0.04)


def wiring(arch: DartsGenotype) -> list[int]:
    return [state for cell in (arch.normal, arch.reduce) for edges in cell for _, state in edges]


@pytest.mark.parametrize("changed, count", [({"ops": ["conv_3x3"]}, 12), ({"nodes": 1}, 24)])
def test_mutation_where_only_one_kind_is_left(changed: dict[str, Any], count: int) -> None:
    space, rng = shipped("darts", **changed), stream(0, "one kind")
    arch = space.reference()
    assert {space.mutate(arch, rng) for _ in range(600)} == set(space.neighbors(arch))
    assert len(set(space.neighbors(arch))) == count


def test_a_space_of_one_has_no_mutation() -> None:
    alone = shipped("darts", nodes=1, ops=["conv_3x3"])
    assert alone.size == 1
    with pytest.raises(ArchitectureError, match=r"conv_3x3\.1 has no neighbour"):
        alone.mutate(alone.reference(), stream(0, "alone"))


def test_crossover_takes_whole_nodes_from_both() -> None:
    a, b = SPACE.reference(), SPACE.parse(METANAS)
    children = {SPACE.crossover(a, b, stream(0, "crossover", i)) for i in range(800)}
    rows = [tuple(product(*zip(x, y, strict=True))) for x, y in ((a.normal, b.normal), (a.reduce, b.reduce))]
    assert children == {DartsGenotype(normal, reduce) for normal, reduce in product(*rows)}


# Isomorphisms


def renumbered(cell: Cell) -> set[Cell]:
    """The cell with its nodes in every order that leaves inputs before their users."""
    found = set()
    for order in permutations(range(len(cell))):
        states = {0: 0, 1: 1, **{old + 2: new + 2 for new, old in enumerate(order)}}
        row = [tuple((op, states[state]) for op, state in cell[old]) for old in order]
        if all(state < new + 2 for new, edges in enumerate(row) for _, state in edges):
            found.add(tuple(node(*edges) for edges in row))
    return found


def test_canonical_against_all_renumberings() -> None:
    space, small = shipped("darts", ops=TWO), cells(3)
    for cell in small[::7]:
        twins = renumbered(cell)
        assert {space.canonical(DartsGenotype(twin, small[0])).normal for twin in twins} == {min(twins)}
        assert {space.canonical(DartsGenotype(small[0], twin)).reduce for twin in twins} == {min(twins)}


def test_isomorphic_genotypes_cost_the_same() -> None:
    arch = SPACE.parse(METANAS)
    twins = [DartsGenotype(arch.normal, cell) for cell in renumbered(arch.reduce)]
    assert len(twins) > 1
    costs = [counted_cost(SPACE, twin, IMAGES) for twin in twins]
    # Peak memory depends on the order in which a cell's nodes are computed.
    assert len({(cost.params, cost.flops, cost.flash) for cost in costs}) == 1


# Graphs


def test_graph_by_hand() -> None:
    space = shipped("darts", nodes=1)
    graph = space.graph(space.parse("normal-conv_3x3.0+skip_connect.1-reduce-max_pool_3x3.0+conv_3x3.1"))
    names = [f"{i}:{name}" for i, name in enumerate(graph.operations)]
    assert [f"{names[i]}>{names[j]}" for i, j in zip(*graph.adjacency.nonzero(), strict=True)] == [
        "0:input>1:c_k-2", "0:input>2:c_k-1", "0:input>7:c_k-2",
        "1:c_k-2>3:conv_3x3", "2:c_k-1>4:skip_connect",
        "3:conv_3x3>5:add", "4:skip_connect>5:add", "5:add>6:concat", "6:concat>8:c_k-1",
        "7:c_k-2>9:max_pool_3x3", "8:c_k-1>10:conv_3x3", "9:max_pool_3x3>11:add", "10:conv_3x3>11:add",
        "11:add>12:concat", "12:concat>13:output",
    ]  # fmt: skip


def test_different_genotypes_have_different_graphs() -> None:
    assert len({TINY.graph(arch) for arch in MEMBERS}) == len(MEMBERS)


# Networks


@pytest.mark.parametrize(
    "op, one, two",
    [
        ("max_pool_3x3", lambda c: 2 * c, lambda c: 2 * c),
        ("avg_pool_3x3", lambda c: 2 * c, lambda c: 2 * c),
        ("skip_connect", lambda c: 0, lambda c: c * c + 2 * c),
        ("conv_1x5_5x1", lambda c: 10 * c * c + 2 * c, lambda c: 10 * c * c + 2 * c),
        ("conv_3x3", lambda c: 9 * c + c * c + 2 * c, lambda c: 9 * c + c * c + 2 * c),
        ("sep_conv_3x3", lambda c: 18 * c + 2 * c * c + 4 * c, lambda c: 18 * c + 2 * c * c + 4 * c),
        ("dil_conv_3x3", lambda c: 9 * c + c * c + 2 * c, lambda c: 9 * c + c * c + 2 * c),
    ],
)
def test_operations_have_their_parameters_and_halve_upwards(op: str, one: Any, two: Any) -> None:
    for width, stride, count in ((8, 1, one), (8, 2, two), (5, 2, two)):
        module = OPS[op](width, width, stride)
        assert sum(p.numel() for p in module.parameters()) == count(width)
        for size in ((1, 1), (7, 8), (8, 7), (14, 3)):
            expected = tuple(-(-length // stride) for length in size)
            assert module(torch.zeros(2, width, *size)).shape == (2, width, *expected)


def test_receptive_fields() -> None:
    # What one position reaches: 3x3, in two steps 5x5, 9 positions over 5x5 with dilation, 1x5 times 5x1.
    reach = {"conv_3x3": (9, 3), "sep_conv_3x3": (25, 5), "dil_conv_3x3": (9, 5), "conv_1x5_5x1": (25, 5)}
    for op, (positions, span) in reach.items():
        convolutions = [m for m in OPS[op](1, 1, 1).modules() if isinstance(m, nn.Conv2d)]
        x = torch.zeros(1, 1, 11, 11)
        x[..., 5, 5] = 1
        with torch.no_grad():
            for convolution in convolutions:
                convolution.weight.fill_(1.0)
                x = convolution(x)
        touched = x[0, 0].nonzero()
        assert (len(touched), int(touched.max() - touched.min()) + 1) == (positions, span), op


def test_factorized_reduce_sees_every_position() -> None:
    module = FactorizedReduce(1, 2)
    module.norm = nn.Identity()
    with torch.no_grad():
        module.even.weight.fill_(1.0)
        module.odd.weight.fill_(1.0)
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert module(x).tolist() == [[[[0, 2], [8, 10]], [[5, 7], [13, 15]]]]
    odd = torch.arange(9.0).view(1, 1, 3, 3)
    assert module(odd).tolist() == [[[[0, 2], [6, 8]], [[0, 2], [6, 8]]]]


@pytest.mark.parametrize("layers, thirds", [(2, [0, 1]), (4, [1, 2]), (8, [2, 5])])
def test_reductions_after_thirds(layers: int, thirds: list[int]) -> None:
    default = shipped("darts", layers=layers, width=4)
    explicit = shipped("darts", layers=layers, width=4, reductions=thirds)
    with torch.device("meta"):
        a, b = (space.build(SPACE.reference(), IMAGES).body for space in (default, explicit))
        assert isinstance(a, DartsBody)
        assert a.features == 4 * 2**2 * 3
        maps = sizes(a, (1, 28, 28))
    assert maps == [28 // 2 ** sum(third <= number for third in thirds) for number in range(layers)]
    assert [p.shape for p in a.parameters()] == [p.shape for p in b.parameters()]


def sizes(body: DartsBody, shape: tuple[int, ...]) -> list[int]:
    found: list[int] = []
    for cell in body.cells:
        cell.register_forward_hook(lambda module, inputs, output: found.append(output.shape[2]))
    body(torch.empty(2, *shape))
    return found


def test_parameters_of_the_reference() -> None:
    # Stem 3C; every cell brings its inputs to c channels, then 3 separable convolutions, and skips.
    def prepared(width_in: int, c: int) -> int:
        return width_in * c + 2 * c

    def cell(before: int, last: int, c: int, skips: int) -> int:
        return prepared(before, c) + prepared(last, c) + 3 * (18 * c + 2 * c * c + 4 * c) + skips

    c = 16
    expected = (9 * 3 * c + 2 * 3 * c) + cell(3 * c, 3 * c, c, 0)
    expected += cell(
        3 * c, 3 * c, 2 * c, 2 * (4 * c * c + 4 * c)
    )  # normal, then reduction: two strided skips
    expected += cell(3 * c, 6 * c, 4 * c, 2 * (16 * c * c + 8 * c)) + cell(6 * c, 12 * c, 4 * c, 0)
    expected += 12 * c * 5 + 5
    assert counted_cost(SPACE, SPACE.reference(), IMAGES).params == expected


def test_a_network_by_hand() -> None:
    space = shipped("darts", nodes=2, layers=2, reductions=[1], width=4)
    arch = space.parse(
        "normal-conv_3x3.0+skip_connect.1-max_pool_3x3.1+conv_3x3.2"
        "-reduce-skip_connect.0+avg_pool_3x3.1-conv_3x3.0+dil_conv_3x3.2"
    )
    with torch_stream(0, "by hand"):
        body: Any = space.build(arch, IMAGES).double().body
        x = torch.randn(3, 1, 28, 28, dtype=torch.float64)
    stem = body.stem(x)
    normal, reduce = body.cells
    p, q = normal.prepare[0](stem), normal.prepare[1](stem)
    n2 = normal.nodes.ops[0](p) + q
    first = torch.cat([n2, normal.nodes.ops[2](q) + normal.nodes.ops[3](n2)], 1)
    p, q = reduce.prepare[0](stem), reduce.prepare[1](first)
    r2 = reduce.nodes.ops[0](p) + reduce.nodes.ops[1](q)
    assert r2.shape == (3, 8, 14, 14)
    second: Tensor = torch.cat([r2, reduce.nodes.ops[2](p) + reduce.nodes.ops[3](r2)], 1)
    torch.testing.assert_close(body(x), second.mean((2, 3)))


@pytest.mark.parametrize("height, width", [(1, 1), (7, 9), (28, 28), (31, 84)])
def test_any_image_size(height: int, width: int) -> None:
    rng = stream(0, "sizes")
    with torch.device("meta"):
        for arch in (SPACE.sample(rng) for _ in range(3)):
            network = SPACE.build(arch, TaskSpec("classification", (3, height, width), 7))
            assert network(torch.empty(2, 3, height, width)).shape == (2, 7)


def test_it_needs_images() -> None:
    message = r"^the darts space needs images of shape .* got \(1,\); use search_space=mlp$"
    with pytest.raises(ArchitectureError, match=message):
        SPACE.build(SPACE.reference(), TaskSpec("regression", (1,), 1))
