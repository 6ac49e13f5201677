"""Relaxed networks: at a corner of the simplex they are the plain network, in between the weighted sum."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from nasmeta.errors import ConfigError
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.relaxation.mixture import PREFIX, Alpha, MixedOp, RelaxedNetwork
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.seeding import stream, torch_stream
from nasmeta.task import TaskSpec
from tests.search_spaces.shipped import FILES, shipped

TASK = TaskSpec("classification", (1, 16, 16), 5, 20)
SPACES = {
    "nasbench201": shipped("nasbench201", width=8, stages=2),
    "darts": shipped("darts", width=8, nodes=2, layers=3, reductions=[1]),
}
KINDS = [("nasbench201", "all"), ("nasbench201", "edges"), *product(["darts"], ["all", "edges", "pairs"])]


def made(space: SearchSpace[Any], inputs: Any = "all", channel_divisor: int = 1) -> RelaxedNetwork:
    with torch_stream(0, "relaxed"):
        return space.relaxed(TASK, Relaxation(inputs, channel_divisor)).double()


def images(n: int = 6) -> Tensor:
    return torch.randn(n, *TASK.input_shape, generator=torch.Generator().manual_seed(1)).double()


def at_a_corner(network: RelaxedNetwork, rng: Any) -> dict[str, Tensor]:
    """The parameters, with random architecture logits so far apart that every softmax is one-hot."""
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    for name in network.architecture_names:
        logits = torch.zeros_like(parameters[name])
        for row in logits.view(-1, logits.shape[-1]) if logits.dim() == 2 else [logits]:
            row[:] = torch.from_numpy(rng.permutation(len(row))) * 1e4
        parameters[name] = logits
    return parameters


def inherited(network: RelaxedNetwork, arch: Any, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    names = [name for name, _ in network.discrete(arch).named_parameters()]
    return {name: parameters[network.shared_name(arch, name)] for name in names}


@pytest.mark.parametrize("space,inputs", [("nasbench201", "all"), ("darts", "pairs")])
def test_at_a_corner_it_is_the_plain_network_with_inherited_weights(space: str, inputs: str) -> None:
    network, rng, seen = made(SPACES[space], inputs), stream(0, "corner"), set()
    for _ in range(5):
        parameters = at_a_corner(network, rng)
        arch = network.derive(parameters)
        seen.add(arch)
        plain = SPACES[space].build(arch, TASK).double()
        expected = functional_call(plain, inherited(network, arch, parameters), (images(),))
        actual = functional_call(network, parameters, (images(),))
        torch.testing.assert_close(actual, expected)
    assert len(seen) == 5


@pytest.mark.parametrize("space,inputs", KINDS)
def test_what_is_derived_builds_and_inherits_by_shape(space: str, inputs: str) -> None:
    network, rng = made(SPACES[space], inputs), stream(0, "derive")
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    for _ in range(4):
        for name in network.architecture_names:
            parameters[name] = torch.from_numpy(rng.standard_normal(tuple(parameters[name].shape)))
        arch = network.derive(parameters)
        assert SPACES[space].parse(str(arch)) == arch
        taken = inherited(network, arch, parameters)
        plain = dict(SPACES[space].build(arch, TASK).named_parameters())
        assert {name: value.shape for name, value in taken.items()} == {n: p.shape for n, p in plain.items()}
        assert len({id(value) for value in taken.values()}) == len(taken)


@pytest.mark.parametrize("space,inputs", KINDS)
def test_every_architecture_parameter_has_a_gradient(space: str, inputs: str) -> None:
    network = made(SPACES[space], inputs)
    network(images()).square().mean().backward()
    own = {name: p for name, p in network.named_parameters() if name.startswith(PREFIX)}
    assert set(own) == set(network.architecture_names)
    for name, parameter in own.items():
        assert parameter.grad is not None
        assert bool((parameter.grad != 0).any()), name


def test_a_mixture_is_the_weighted_sum() -> None:
    table = {"twice": lambda a, b, s: Times(2.0), "thrice": lambda a, b, s: Times(3.0)}
    x = images()
    mixed = MixedOp(table, ("twice", "thrice"), 1, 1, channel_divisor=1)
    weights = torch.tensor([0.25, 0.75])
    torch.testing.assert_close(mixed(x, weights, None), (0.25 * 2 + 0.75 * 3) * x)
    torch.testing.assert_close(mixed(x, torch.tensor([0.0, 1.0]), 1), 3 * x)


class Times(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_partial_channels_leave_the_others_alone_and_shuffle() -> None:
    """Channel c of K parts of n goes to place (c mod n) * K + c // n (PC-DARTS, as ShuffleNet)."""
    mixed = MixedOp({"twice": lambda a, b, s: Times(2.0)}, ("twice",), 8, 1, channel_divisor=4)
    x = torch.arange(8.0).view(1, 8, 1, 1) + 1
    y = mixed(x, torch.ones(1), None).flatten()
    assert y.tolist() == [2.0, 3.0, 5.0, 7.0, 4.0, 4.0, 6.0, 8.0]
    with pytest.raises(ConfigError, match=r"partial_channels: 3 .* 8 "):
        MixedOp({"twice": lambda a, b, s: Times(2.0)}, ("twice",), 8, 1, channel_divisor=3)


@pytest.mark.parametrize("space", SPACES)
def test_partial_channels_build_at_every_size(space: str) -> None:
    network = made(SPACES[space], "edges", channel_divisor=4)
    assert network(images()).shape == (6, 5)
    full = sum(p.numel() for p in made(SPACES[space]).parameters())
    assert sum(p.numel() for p in network.parameters()) < full / 2


def test_a_sampled_edge_has_the_gumbel_softmax_derivative_of_its_operation() -> None:
    """d(w_c)/d alpha = p_c (1[k = c] - p_k) / tau, with p the softmax of (log softmax(alpha) + g) / tau."""
    alpha = Alpha(("cell",), (1,), 3, "all").double()
    g = torch.tensor([[0.3, 1.2, -0.5]]).double()
    alpha.edge_sample.temperature, alpha.edge_sample.noise["cell"] = (0.7, 0.7), g
    alpha.edge_sample.hard["cell"] = torch.tensor([[0.0, 1.0, 0.0]]).double()
    weights = alpha.operations("cell")
    assert weights.tolist() == [[0.0, 1.0, 0.0]]
    logits = alpha.get_parameter("cell")
    (actual,) = torch.autograd.grad(weights[0, 1], logits)
    p = ((logits.log_softmax(-1) + g) / 0.7).softmax(-1)[0].detach()
    expected = p[1] * (torch.tensor([0.0, 1.0, 0.0]) - p) / 0.7
    torch.testing.assert_close(actual[0], expected)


def test_the_temperature_follows_the_inner_loop() -> None:
    alpha = Alpha(("cell",), (2,), 3, "all").double()
    alpha.edge_sample.temperature = (1.0, 0.1)
    alpha.progress = 0.5
    logits = alpha.get_parameter("cell")
    torch.testing.assert_close(alpha.operations("cell"), (logits / 0.55).softmax(-1))


def test_derived_inputs_of_darts_by_hand() -> None:
    """Two nodes; node 0 has states 0 and 1 alone, node 1 the two strongest of three."""
    space = shipped("darts", width=8, nodes=2, layers=1, reductions=[], ops=["skip_connect", "conv_3x3"])
    network = made(space)
    parameters = {n: torch.zeros(p.shape) for n, p in network.named_parameters() if n.startswith(PREFIX)}
    table = torch.tensor([[1.0, 0], [0, 2], [0, 3], [0.1, 0], [0, 1.0]])
    parameters[f"{PREFIX}normal"] = table
    arch = network.derive(parameters)
    assert arch.normal == (
        (("skip_connect", 0), ("conv_3x3", 1)),
        (("conv_3x3", 0), ("conv_3x3", 2)),
    )


def test_spaces_without_one_say_so() -> None:
    for path in FILES:
        if path.stem not in SPACES:
            with pytest.raises(ConfigError, match=r"no continuous relaxation.*nasbench201 or darts"):
                shipped(path.stem).relaxed(TASK, Relaxation("all", 1))
    with pytest.raises(ConfigError, match=r"strategy\.inputs: pairs .* use all or edges"):
        made(SPACES["nasbench201"], "pairs")
