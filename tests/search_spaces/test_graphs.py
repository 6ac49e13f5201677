"""Architectures as graphs and as features."""

from typing import Any

import numpy as np
import pytest

from nasmeta.search_spaces.encodings import weisfeiler_lehman
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.seeding import stream
from tests.search_spaces.shipped import shipped
from tests.search_spaces.tiny import all_of_tiny_conv, all_of_tiny_mlp


def edges(graph: ArchitectureGraph) -> list[str]:
    names = [f"{i}:{name}" for i, name in enumerate(graph.operations)]
    return [f"{names[i]}>{names[j]}" for i, j in np.argwhere(graph.adjacency)]


def test_conv_graph_shows_shortcuts() -> None:
    space = shipped("conv")
    graph = space.graph(
        space.parse("conv3-16.bn.relu.max_sep3-16.gn.silu.stride+skip+se_conv1-16.bn.gelu.avg+skip_gap")
    )
    assert edges(graph) == [
        "0:input>1:conv3", "1:conv3>2:bn", "2:bn>3:relu", "3:relu>4:max",
        "4:max>5:sep3", "4:max>9:project", "5:sep3>6:stride", "6:stride>7:gn", "7:gn>8:se", "8:se>10:add",
        "9:project>10:add", "10:add>11:silu",
        "11:silu>12:conv1", "11:silu>14:add", "12:conv1>13:bn", "13:bn>14:add", "14:add>15:gelu",
        "15:gelu>16:avg", "16:avg>17:gap", "17:gap>18:output",
    ]  # fmt: skip
    assert graph.widths == (0, *[16] * 17, 0)


def test_mlp_graph_shows_shortcuts() -> None:
    space = shipped("mlp")
    graph = space.graph(space.parse("fc40.relu.none_fc40.tanh.layer+skip"))
    assert edges(graph) == [
        "0:input>1:linear", "1:linear>2:relu", "2:relu>3:linear", "2:relu>5:add", "3:linear>4:layer",
        "4:layer>5:add", "5:add>6:tanh", "6:tanh>7:output",
    ]  # fmt: skip
    assert graph.widths == (0, 40, 40, 40, 40, 40, 40, 0)


@pytest.mark.parametrize("name, members", [("conv", all_of_tiny_conv()), ("mlp", all_of_tiny_mlp())])
def test_different_architectures_have_different_graphs(name: str, members: list[Any]) -> None:
    space: Any = shipped(name)
    graphs = [space.graph(arch) for arch in members]
    assert len(set(graphs)) == len(members)


def test_graphs_are_equal_by_content() -> None:
    one, other = GraphBuilder(), GraphBuilder()
    for builder in (one, other):
        builder.add("conv", 8)
    assert one.finish() == other.finish()
    longer = GraphBuilder()
    longer.add("conv", 16)
    assert longer.finish() != other.finish()


def test_weisfeiler_lehman_by_hand() -> None:
    builder = GraphBuilder()
    first = builder.add("conv", 3)
    builder.add("add", 7, 0, first)
    conv = ("conv", ("input",))
    add = ("add", ("conv", "input"))
    assert weisfeiler_lehman(builder.finish(), rounds=1) == {
        "input": 1, "conv": 1, "add": 1, "output": 1,
        ("input", ()): 1, conv: 1, add: 1, ("output", ("add",)): 1,
        ("width", "conv"): 2, ("width", "add"): 3,
    }  # fmt: skip
    second = weisfeiler_lehman(builder.finish(), rounds=2)
    assert second[("output", ("add",)), (add,)] == 1


def test_weisfeiler_lehman_knows_no_order_of_nodes() -> None:
    def diamond(left: str, right: str) -> ArchitectureGraph:
        builder = GraphBuilder()
        one, other = builder.add(left, 4, 0), builder.add(right, 4, 0)
        builder.add("add", 4, one, other)
        return builder.finish()

    encoded = [weisfeiler_lehman(diamond(*sides), 2) for sides in (("a", "b"), ("b", "a"), ("a", "a"))]
    assert encoded[0] == encoded[1] != encoded[2]
    small = shipped("mlp", max_layers=2)
    archs = {small.sample(stream(i, "wl")) for i in range(200)}
    assert len({frozenset(weisfeiler_lehman(small.graph(arch), 2).items()) for arch in archs}) > 0.9 * len(
        archs
    )
