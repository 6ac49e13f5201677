"""The packed, stacked networks against the same arithmetic with dense matrices, one member at a time."""

import numpy as np
import pytest
import torch

from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.seeding import stream
from nasmeta.strategies.surrogate.graphs import EncodedGraph, encode, feature_length, pack
from nasmeta.strategies.surrogate.networks import GraphNetworks, GraphTensors

OPERATIONS = ("input", "output", "a", "b")
MEMBERS, HIDDEN, LAYERS = 3, 5, 2
FEATURES = feature_length(OPERATIONS)


def networks() -> GraphNetworks:
    generator = torch.Generator().manual_seed(3)
    made = GraphNetworks(
        features=FEATURES, members=MEMBERS, hidden=HIDDEN, layers=LAYERS, generator=generator
    )
    with torch.no_grad():  # biases that are not zero
        made.parameters += 0.1 * torch.randn(made.parameters.shape, generator=generator)
    return made


def random_graph(*names: str | int) -> ArchitectureGraph:
    rng = stream(0, *names)
    inner = int(rng.integers(1, 6))
    adjacency = np.triu(rng.random((inner + 2, inner + 2)) < 0.5, k=1)
    labels = [("a", "b")[i] for i in rng.integers(2, size=inner)]
    widths = (0, *rng.integers(1, 9, inner).tolist(), 0)
    return ArchitectureGraph(("input", *labels, "output"), adjacency, widths)


def encoded(count: int) -> list[EncodedGraph]:
    return [encode(random_graph(i), OPERATIONS) for i in range(count)]


def dense(made: GraphNetworks, member: int, graph: EncodedGraph) -> float:
    """What the docstring of GraphNetworks says, written down with an adjacency matrix."""
    shapes = [(FEATURES, HIDDEN), *[(HIDDEN, 3 * HIDDEN), (1, HIDDEN)] * LAYERS, (HIDDEN, 1), (1, 1)]
    values, at = made.parameters.detach().double(), 0
    parts = []
    for rows, columns in shapes:
        block = values[at : at + MEMBERS * rows * columns].view(MEMBERS, rows, columns)
        parts.append(block[member])
        at += MEMBERS * rows * columns
    assert at == len(values)
    embedding, *rounds, head, offset = parts
    adjacency = torch.zeros(len(graph.features), len(graph.features), dtype=torch.float64)
    adjacency[graph.sources, graph.targets] = 1
    into = adjacency.T / adjacency.sum(dim=0).clamp(min=1).sqrt()[:, None]
    out = adjacency / adjacency.sum(dim=1).clamp(min=1).sqrt()[:, None]
    h = torch.from_numpy(graph.features).double() @ embedding
    for weight, bias in zip(rounds[::2], rounds[1::2], strict=True):
        a, b, c = weight.split(HIDDEN, dim=1)
        h = torch.relu(h @ a + into @ h @ b + out @ h @ c + bias)
    return float((h.mean(dim=0) @ head + offset[0]).item())


def predicted(made: GraphNetworks, graphs: list[EncodedGraph]) -> torch.Tensor:
    with torch.no_grad():
        return made(GraphTensors.of(pack(graphs)))


def test_the_predictions_are_those_of_the_formula() -> None:
    made, graphs = networks(), encoded(12)
    expected = [[dense(made, member, graph) for graph in graphs] for member in range(MEMBERS)]
    got = predicted(made, graphs)
    assert got.shape == (MEMBERS, 12)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)
    assert got.std(dim=1).min() > 0.01, "the graphs must not be predicted alike for this to mean anything"


def test_a_graph_is_predicted_the_same_in_any_company() -> None:
    made, graphs = networks(), encoded(9)
    together = predicted(made, graphs)
    alone = torch.cat([predicted(made, [graph]) for graph in graphs], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_the_order_of_nodes_side_by_side_does_not_matter() -> None:
    def branches(first: str, second: str) -> EncodedGraph:
        adjacency = np.zeros((4, 4), dtype=np.bool_)
        adjacency[[0, 0, 1, 2], [1, 2, 3, 3]] = True
        return encode(
            ArchitectureGraph(("input", first, second, "output"), adjacency, (0, 4, 4, 0)), OPERATIONS
        )

    made = networks()
    got = predicted(made, [branches("a", "b"), branches("b", "a"), branches("a", "a")])
    torch.testing.assert_close(got[:, 0], got[:, 1], rtol=1e-5, atol=1e-6)
    assert ((got[:, 0] - got[:, 2]).abs() > 1e-3).all()


def test_the_direction_of_an_edge_matters() -> None:
    """Reversed, with all features but the direction equal, a chain is another network."""
    chain = encode(
        ArchitectureGraph(("input", "a", "output"), np.eye(3, k=1, dtype=bool), (0, 1, 0)), OPERATIONS
    )
    back = EncodedGraph(chain.features, chain.targets, chain.sources)
    got = predicted(networks(), [chain, back])
    assert ((got[:, 0] - got[:, 1]).abs() > 1e-3).all()


@pytest.mark.parametrize("member", range(MEMBERS))
def test_members_share_no_parameter(member: int) -> None:
    made = networks()
    made(GraphTensors.of(pack(encoded(4))))[member].sum().backward()
    gradient = made.parameters.grad
    assert gradient is not None
    own = 0
    for part, shape in zip(gradient.split([s.numel() for s in made._shapes]), made._shapes, strict=True):
        touched = part.view(shape).flatten(1).abs().sum(dim=1) > 0
        assert touched.nonzero().flatten().tolist() in ([member], [])
        own += int(touched[member])
    assert own == len(made._shapes)
