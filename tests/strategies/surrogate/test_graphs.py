import numpy as np
import pytest

from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.strategies.surrogate.graphs import encode, feature_length, pack

OPERATIONS = ("input", "output", "conv", "add")


def residual() -> ArchitectureGraph:
    """input -> conv -> conv -> add -> output, and input -> add."""
    builder = GraphBuilder()
    builder.add("conv", 3)
    builder.add("conv", 7)
    builder.add("add", 7, 0, 2)
    return builder.finish()


def test_a_node_is_its_operation_its_width_and_where_it_lies() -> None:
    encoded = encode(residual(), OPERATIONS)
    assert encoded.features.shape == (5, feature_length(OPERATIONS))
    assert encoded.features[:, :4].argmax(axis=1).tolist() == [0, 2, 2, 3, 1]
    assert encoded.features[:, :4].sum(axis=1).tolist() == [1] * 5
    widths, before, behind = 2 ** (4 * encoded.features[:, 4:].T) - 1
    assert widths == pytest.approx([0, 3, 7, 7, 0], abs=1e-5)
    assert before == pytest.approx([0, 1, 2, 3, 4], abs=1e-5)
    assert behind == pytest.approx([4, 3, 2, 1, 0], abs=1e-5)


def test_depths_are_those_of_the_longest_paths() -> None:
    # 0 -> 1 -> 3 and 0 -> 2 -> 3, 0 -> 3: 1 and 2 lie side by side.
    adjacency = np.zeros((4, 4), dtype=np.bool_)
    adjacency[[0, 0, 0, 1, 2], [1, 2, 3, 3, 3]] = True
    graph = ArchitectureGraph(("input", "conv", "conv", "output"), adjacency, (0, 1, 1, 0))
    before, behind = 2 ** (4 * encode(graph, OPERATIONS).features[:, 5:].T) - 1
    assert before == pytest.approx([0, 1, 1, 2], abs=1e-5)
    assert behind == pytest.approx([2, 1, 1, 0], abs=1e-5)


def test_edges_are_the_adjacency() -> None:
    encoded = encode(residual(), OPERATIONS)
    edges = set(zip(encoded.sources.tolist(), encoded.targets.tolist(), strict=True))
    assert edges == {(0, 1), (1, 2), (0, 3), (2, 3), (3, 4)}


def test_packed_graphs_keep_their_edges_to_themselves() -> None:
    one = encode(residual(), OPERATIONS)
    packed = pack([one, one])
    assert packed.count == 2
    assert packed.owner.tolist() == [0] * 5 + [1] * 5
    edges = set(zip(packed.sources.tolist(), packed.targets.tolist(), strict=True))
    single = set(zip(one.sources.tolist(), one.targets.tolist(), strict=True))
    assert edges == single | {(source + 5, target + 5) for source, target in single}
    assert np.array_equal(packed.features, np.concatenate([one.features, one.features]))


def test_an_operation_outside_the_vocabulary_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"tuple\.index"):
        encode(residual(), ("input", "output", "conv"))
