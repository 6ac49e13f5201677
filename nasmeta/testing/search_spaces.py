"""What every search space must do: a test class to subclass, for nasmeta's spaces and for yours.

    class TestMySpace(SearchSpaceContract):
        @pytest.fixture
        def space(self) -> MySpace:
            return MySpace(...)

Also override `task` if the space does not take 28x28 images.
"""

import pickle
import re
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from operator import ne
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from nasmeta.errors import ArchitectureError, ConfigError
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.seeding import integer, stream, torch_stream
from nasmeta.task import TaskSpec

Space = SearchSpace[Any]
PLAIN = re.compile(r"[A-Za-z0-9|][A-Za-z0-9._+/~|-]*")
"""No quotes, spaces or commas, so that a string needs no escapes in JSON, in CSV, or in single quotes."""


class SearchSpaceContract:
    """Tests of what strategies, evaluators and meta-learners rely on.

    Tests of decisions, shared weights and relaxed networks are skipped for a space that has none.

    samples: how many random architectures are tried. builds: of how many architectures networks are run.
    plain: what an architecture's string may be made of.
    """

    samples = 24
    builds = 6
    plain = PLAIN

    @pytest.fixture
    def space(self) -> Space:
        """The space under test."""
        raise NotImplementedError("override the fixture `space`")

    @pytest.fixture
    def task(self) -> TaskSpec:
        """The task that networks are built for."""
        return TaskSpec("classification", (1, 28, 28), 5, 20)

    @pytest.fixture
    def archs(self, space: Space) -> list[Any]:
        """The reference and the initial architecture, then random ones."""
        rng = stream(0, "contract", "sample")
        return [space.reference(), space.initial(), *(space.sample(rng) for _ in range(self.samples))]

    # Strings and values

    def test_string_parses_back(self, space: Space, archs: list[Any]) -> None:
        assert [space.parse(str(arch)) for arch in archs] == archs

    def test_string_is_the_identity(self, space: Space, archs: list[Any]) -> None:
        everything = {*archs, *(near for arch in archs[:6] for near in space.neighbors(arch))}
        assert len({str(arch) for arch in everything}) == len(everything)

    def test_string_is_plain(self, archs: list[Any]) -> None:
        assert [str(arch) for arch in archs if not self.plain.fullmatch(str(arch))] == []

    def test_equal_by_content(self, space: Space, archs: list[Any]) -> None:
        for arch in archs:
            twin = pickle.loads(pickle.dumps(arch))
            assert twin is not arch
            assert (twin, hash(twin), str(twin)) == (arch, hash(arch), str(arch))
        assert isinstance(hash(space), int), "costs are remembered by space"

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_garbage_is_an_architecture_error(self, space: Space, data: st.DataObject) -> None:
        valid = str(space.reference())
        cut = data.draw(st.integers(0, len(valid)))
        drop = data.draw(st.integers(0, 3))
        part = data.draw(st.one_of(st.text(max_size=8), st.text("_.+-0123456789convrelusepbn", max_size=8)))
        text = data.draw(st.sampled_from([part, valid[:cut] + part + valid[cut + drop :]]))
        try:
            said = str(space.parse(text))
        except ArchitectureError as error:
            said = str(error).partition("\n")[0]
            text = str(error) or "some reason"
        assert said == text

    # Draws and edits

    def test_draws_depend_on_the_generator_alone(self, space: Space, archs: list[Any]) -> None:
        def history(seed: int) -> list[Any]:
            rng = stream(seed, "contract")
            drawn = [space.sample(rng) for _ in range(4)]
            return [*drawn, space.mutate(archs[0], rng), space.crossover(archs[0], archs[2], rng)]

        assert history(0) == history(0)
        assert history(0) != history(1)

    def test_mutation_is_a_neighbor(self, space: Space, archs: list[Any]) -> None:
        rng = stream(0, "contract", "mutate")
        for arch in archs[:10]:
            near = set(space.neighbors(arch))
            assert arch not in near
            assert {space.mutate(arch, rng) for _ in range(20)} <= near

    def test_neighbors_are_members_each_once_in_a_fixed_order(self, space: Space, archs: list[Any]) -> None:
        for arch in archs[:6]:
            near = list(space.neighbors(arch))
            assert near
            assert len(set(near)) == len(near)
            assert near == list(space.neighbors(space.parse(str(arch))))
            assert [space.parse(str(other)) for other in near] == near

    def test_neighbors_are_mutual(self, space: Space, archs: list[Any]) -> None:
        for arch in archs[:6]:
            near = list(space.neighbors(arch))
            for other in near[:: max(len(near) // 12, 1)]:
                assert arch in set(space.neighbors(other)), f"{other} does not lead back to {arch}"

    def test_crossover_stays_inside(self, space: Space, archs: list[Any]) -> None:
        rng = stream(0, "contract", "crossover")
        for a, b in pairwise(archs):
            for child in (space.crossover(a, b, rng), space.crossover(b, a, rng)):
                assert space.parse(str(child)) == child

    def test_canonical_is_a_member_and_its_own(self, space: Space, archs: list[Any]) -> None:
        for arch in archs:
            twin = space.canonical(arch)
            assert space.parse(str(twin)) == twin == space.canonical(twin)

    def test_relatives_are_members(self, space: Space) -> None:
        relatives = space.relatives()
        assert [space.parse(str(arch)) for arch in relatives] == relatives

    def test_repair_leads_to_members(self, space: Space, archs: list[Any]) -> None:
        rng = stream(0, "contract", "repair")
        for arch in archs:
            assert space.repair(arch, lambda other: True, rng) == arch
            cheaper = space.repair(arch, partial(ne, arch), rng)
            assert cheaper is None or space.parse(str(cheaper)) == cheaper != arch

    # Graphs

    def test_graph_is_well_formed(self, space: Space, archs: list[Any]) -> None:
        for arch in archs:
            graph = space.graph(arch)
            assert (graph.operations[0], graph.operations[-1]) == ("input", "output")
            assert set(graph.operations) <= set(space.operations)
            assert graph.adjacency[:-1].any(axis=1).all(), "a node leads nowhere"
            assert graph.adjacency[:, 1:].any(axis=0).all(), "a node has no input"
            assert all(isinstance(width, int) and width >= 0 for width in graph.widths)

    def test_equal_architectures_have_equal_graphs(self, space: Space, archs: list[Any]) -> None:
        for arch in archs:
            assert space.graph(arch) == space.graph(space.parse(str(arch)))

    # Networks

    def test_every_architecture_builds(self, space: Space, archs: list[Any], task: TaskSpec) -> None:
        with torch.device("meta"):
            networks = [space.build(arch, task) for arch in archs]
            assert all(isinstance(network, FewShotNetwork) for network in networks)
            for network in networks[: self.builds]:
                assert network(torch.empty(2, *task.input_shape)).shape == (2, task.outputs)

    def test_the_reference_learns_from_its_input(
        self, space: Space, archs: list[Any], task: TaskSpec
    ) -> None:
        network, x = _network(space, space.reference(), task), _inputs(task)
        output = network(x)
        assert (output - output.mean(0)).abs().max() > 1e-4, "different inputs have different outputs"
        parameters = tuple(network.body.parameters())
        slopes = torch.autograd.grad((output - output.mean(0)).square().sum(), parameters)
        moved = [bool(slope.abs().max() > 0) for slope in slopes]
        assert sum(moved) > len(moved) / 2, "a bias before a norm learns nothing"

    def test_gradients_are_finite(self, space: Space, archs: list[Any], task: TaskSpec) -> None:
        for arch in archs[: self.builds]:
            network, x = _network(space, arch, task), _inputs(task)
            features = network.body(x)
            assert features.shape == (len(x), network.head.in_features)
            output = network(x)
            assert output.shape == (len(x), task.outputs)
            parameters = tuple(network.parameters())
            gradients = torch.autograd.grad(output.square().mean(), parameters)
            assert torch.isfinite(output).all()
            assert all(torch.isfinite(gradient).all() for gradient in gradients)
            assert any(gradient.abs().max() > 0 for gradient in gradients)

    def test_a_network_is_a_function(self, space: Space, archs: list[Any], task: TaskSpec) -> None:
        for arch in archs[: self.builds]:
            network, x = _network(space, arch, task), _inputs(task)
            once = network(x)
            assert all(torch.equal(network(x), once) for _ in range(3))

    def test_building_draws_from_torch_alone(self, space: Space, archs: list[Any], task: TaskSpec) -> None:
        first, again = (_network(space, archs[2], task).state_dict() for _ in range(2))
        assert all(torch.equal(first[name], again[name]) for name in first)

    def test_second_derivatives(self, space: Space, archs: list[Any], task: TaskSpec) -> None:
        for arch in archs[: self.builds]:
            network, x = _network(space, arch, task), _inputs(task)
            parameters = dict(network.named_parameters())
            names, values = list(parameters), list(parameters.values())
            inner = torch.autograd.grad(network(x).square().mean(), values, create_graph=True)
            stepped = {n: p - 0.1 * g for n, p, g in zip(names, values, inner, strict=True)}
            outer: Tensor = functional_call(network, stepped, (x,))
            assert all(torch.isfinite(g).all() for g in torch.autograd.grad(outer.square().mean(), values))

    def test_vmap_equals_a_loop(self, space: Space, archs: list[Any], task: TaskSpec) -> None:
        for arch in archs[: self.builds]:
            networks, x = [_network(space, arch, task, weights) for weights in range(2)], _inputs(task)
            stacked, _ = stack_module_state(networks)
            together = vmap(partial(functional_call, networks[0]), in_dims=(0, None))(stacked, (x,))
            apart = torch.stack([network(x) for network in networks])
            torch.testing.assert_close(together, apart, rtol=1e-7, atol=1e-9)

    def test_memory_format_changes_nothing(self, space: Space, archs: list[Any], task: TaskSpec) -> None:
        if len(task.input_shape) != 3:
            pytest.skip("no images")
        for arch in archs[: self.builds]:
            network, x = _network(space, arch, task), _inputs(task)
            expected = network(x)
            last = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            actual = last(x.to(memory_format=torch.channels_last))
            torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-9)

    # What a space may have besides

    def test_decisions_are_of_their_kind(self, space: Space) -> None:
        if not isinstance(space, Decidable):
            pytest.skip("no decisions")
        kinds = space.decisions
        assert all(len(set(options)) == len(options) > 0 for options in kinds.values())
        rng, asked = stream(0, "contract", "decisions"), set()

        def choose(kind: str, options: Sequence[Any]) -> Any:
            assert len(options) == len(set(options)) > 0
            assert set(options) <= set(kinds[kind])
            asked.add(kind)
            return options[int(rng.integers(len(options)))]

        for _ in range(200):
            arch = space.decide(choose)
            assert space.parse(str(arch)) == arch
        assert asked == set(kinds)

    def test_every_architecture_inherits_from_every_other(
        self, space: Space, archs: list[Any], task: TaskSpec
    ) -> None:
        rng = stream(0, "contract", "morph")
        for old, new in pairwise(archs[: self.builds]):
            source, target = _network(space, old, task), _network(space, new, task, weights=1)
            weights, fresh = source.state_dict(), target.state_dict()
            morphed = space.morph(old, new, weights, fresh, rng)
            assert {n: v.shape for n, v in morphed.items()} == {n: v.shape for n, v in fresh.items()}
            target.load_state_dict(morphed)
            assert torch.isfinite(target(_inputs(task))).all()
            same = space.morph(old, old, weights, _network(space, old, task, weights=1).state_dict(), rng)
            assert all(torch.equal(same[name], weights[name]) for name in weights)

    def test_shared_weights_contain_those_of_every_network(
        self, space: Space, archs: list[Any], task: TaskSpec
    ) -> None:
        try:
            sharing = space.sharing(task)
        except ConfigError:
            pytest.skip("no shared weights")

        def shapes(arch: Any) -> dict[str, torch.Size]:
            own = {n: p.shape for n, p in space.build(arch, task).named_parameters()}
            shared = {sharing.name(arch, name): shape for name, shape in own.items()}
            assert len(shared) == len(own), f"two parameters of {arch} have the same shared name"
            return shared

        with torch.device("meta"):
            sizes: dict[str, list[int]] = {}
            for arch in sharing.largest():
                for name, shape in shapes(arch).items():
                    sizes[name] = [max(pair) for pair in zip(sizes.get(name, shape), shape, strict=True)]
            for arch in archs:
                for name, shape in shapes(arch).items():
                    assert all(n <= most for n, most in zip(shape, sizes[name], strict=True)), name

    def test_what_a_relaxed_network_derives_inherits_its_weights(self, space: Space, task: TaskSpec) -> None:
        try:
            network = space.relaxed(task, Relaxation("all", channel_divisor=1))
        except ConfigError:
            pytest.skip("no relaxed network")
        rng = stream(0, "contract", "relaxed")
        parameters = {name: value.detach() for name, value in network.named_parameters()}
        for _ in range(self.builds):
            for name in network.architecture_names:
                parameters[name] = torch.from_numpy(rng.standard_normal(tuple(parameters[name].shape)))
            arch = network.derive(parameters)
            assert space.parse(str(arch)) == arch
            for name, value in space.build(arch, task).named_parameters():
                assert parameters[network.shared_name(arch, name)].shape == value.shape


def _network(space: Space, arch: Any, task: TaskSpec, weights: int = 0) -> FewShotNetwork:
    """The network of `arch` in float64, so that different computations of it can be compared closely."""
    with torch_stream(0, "contract", weights):
        return space.build(arch, task).double()


def _inputs(task: TaskSpec, examples: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(integer(0, "contract", "inputs"))
    return torch.randn(examples, *task.input_shape, generator=generator, dtype=torch.float64)
