"""The shared weights: parts, gradients and the sub-networks made of them."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ArchitectureError, ConfigError
from nasmeta.evaluators.supernet.sampling import fair, uniform
from nasmeta.evaluators.supernet.weights import SharedWeights, leading
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.networks.execution import Execution
from nasmeta.run.composition import Composition
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.task import TaskSpec
from nasmeta.testing.meta_learners import TASK, BlobSampler
from nasmeta.testing.toy_space import ToySpace

SPACES = ("conv", "conv_small", "mlp", "nasbench201", "darts")
SMALL = {
    "conv": ["search_space.widths=[8,12,16]", "search_space.max_blocks=4"],
    "mlp": ["search_space.widths=[8,16,24]"],
    "nasbench201": ["search_space.width=4", "search_space.stages=2"],
    "darts": ["search_space.width=4", "search_space.layers=2", "search_space.nodes=2"],
}
LEARNERS = ("protonet", "maml", "fomaml", "reptile", "meta_sgd", "ridge", "finetune", "anil", "boil")


class Operations(TorchDispatchMode):
    """Notes the names of the operations on tensors that have values."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, Tensor) or result.device.type != "meta":
            self.names.add(func.overloadpacket.__name__)
        return result


@cache
def composition(space: str, learner: str) -> Composition:
    overrides = [f"search_space={space}", f"meta_learner={learner}", "device=cpu", *SMALL.get(space, [])]
    return Composition.of(parse(composed(overrides), trusted=False))


@cache
def shared(space: str, learner: str = "protonet") -> SharedWeights:
    whole = composition(space, learner).problem
    return SharedWeights(replace(whole, task=TASK, seed=0, execution=Execution()))


def buildable(space: SearchSpace[Any], seed: int, count: int, task: TaskSpec = TASK) -> list[Any]:
    found: list[Any] = []
    rng = seeding.stream(seed, "test")
    while len(found) < count:
        arch = space.sample(rng)
        try:
            space.build(arch, task)
        except ArchitectureError:
            continue
        found.append(arch)
    return found


@pytest.mark.parametrize("space", SPACES)
def test_every_network_is_made_of_parts_of_its_own(space: str) -> None:
    """Each parameter is the beginning of a shared tensor of its shape or more, and no two share one."""
    weights = shared(space)
    for arch in buildable(weights.problem.space, 1, 30):
        subnetwork = weights.subnetwork(arch)
        plain = dict(weights.problem.space.build(arch, TASK).named_parameters())
        assert set(subnetwork.state.network.names) == set(plain)
        for name, value in plain.items():
            whole = weights.parameters[subnetwork.shared_names[name]]
            assert torch.equal(whole[leading(value)], subnetwork.state.parameters[name])
            assert subnetwork.state.parameters[name].shape == value.shape
        assert len(set(subnetwork.shared_names.values())) == len(subnetwork.shared_names)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_network_is_made_without_drawing_or_moving_a_value(name: str) -> None:
    """Copies from the host would make every meta-iteration wait for a GPU."""
    weights = shared("conv_small", name)
    (arch,) = buildable(weights.problem.space, 1, 1)
    with Operations() as seen:
        weights.subnetwork(arch)
    assert seen.names.isdisjoint({"_to_copy", "lift_fresh", "lift_fresh_copy", "uniform_", "normal_"})


@pytest.mark.parametrize("space", SPACES)
def test_every_shared_tensor_is_used_to_its_end(space: str) -> None:
    """Among the largest architectures each is met, and at full length along each dimension."""
    weights = shared(space)
    reached: dict[str, list[int]] = {}
    for arch in weights.sharing.largest():
        subnetwork = weights.subnetwork(arch)
        for name, shared_name in subnetwork.shared_names.items():
            sizes = list(subnetwork.state.parameters[name].shape)
            known = reached.setdefault(shared_name, sizes)
            reached[shared_name] = [max(pair) for pair in zip(known, sizes, strict=True)]
    assert reached == {name: list(value.shape) for name, value in weights.parameters.items()}


@pytest.mark.parametrize("space", SPACES)
def test_the_largest_network_is_the_plain_one(space: str) -> None:
    """The first of the largest begins as a plain network of the same stream does, and computes the same."""
    weights = shared(space)
    arch = next(iter(weights.sharing.largest()))
    with seeding.torch_stream(0, "supernet", 0):
        plain = weights.problem.space.build(arch, TASK)
    state = weights.subnetwork(arch).state
    for name, value in plain.named_parameters():
        assert torch.equal(state.parameters[name], value), name
    x = BlobSampler("train").batch(0, 1).support_x[0]
    assert torch.allclose(state.network(state.parameters, x), plain(x), atol=1e-5)


@pytest.mark.parametrize(
    "space, learner",
    [("conv_small", learner) for learner in LEARNERS]
    + [
        (space, kind) for space in SPACES if space != "conv_small" for kind in ("protonet", "maml", "reptile")
    ],
)
def test_every_learner_trains_and_every_space_is_trained_by_every_kind(space: str, learner: str) -> None:
    """A gradient for every parameter, finite, that lands in the sub-network's parts and nowhere else."""
    weights = shared(space, learner)
    subnetwork = weights.subnetwork(buildable(weights.problem.space, 2, 1)[0])
    batch = training_sampler(weights.problem.learner).batch(0, 1)
    gradients, metrics = weights.problem.learner.meta_gradient(subnetwork.state, batch, 0)
    assert torch.isfinite(metrics["loss"])
    total: dict[str, Tensor] = {}
    subnetwork.scatter(gradients, total, weights.parameters)
    assert set(total) == set(subnetwork.shared_names.values())
    assert any(value.any() for value in total.values())
    for name, shared_name in subnetwork.shared_names.items():
        part = total[shared_name][leading(gradients[name])]
        assert torch.equal(part, gradients[name])
        part.zero_()
        assert not total[shared_name].any(), name


def training_sampler(learner: MetaLearner) -> BlobSampler:
    return BlobSampler("train", way=learner.train_way or TASK.outputs)


@pytest.mark.parametrize("space", ["conv_small", "mlp", "nasbench201", "darts"])
def test_scattered_gradients_are_those_of_autograd_through_slices(space: str) -> None:
    """Exactly: the shared tensors as leaves, their slices as the parameters of two sub-networks."""
    weights = shared(space)
    batch = BlobSampler("train").batch(0, 1)
    total: dict[str, Tensor] = {}
    loss = torch.zeros(())
    for arch in buildable(weights.problem.space, 3, 2):
        subnetwork = weights.subnetwork(arch)
        state = subnetwork.state
        own = torch.nn.functional.cross_entropy(
            state.network(state.parameters, batch.support_x[0]), batch.support_y[0]
        )
        names = list(state.network.names)
        grads = torch.autograd.grad(own, [state.parameters[n] for n in names])
        subnetwork.scatter(dict(zip(names, grads, strict=True)), total, weights.parameters)
        slices = {
            n: weights.parameters[subnetwork.shared_names[n]][leading(state.parameters[n])] for n in names
        }
        logits = state.network(slices, batch.support_x[0])
        loss = loss + torch.nn.functional.cross_entropy(logits, batch.support_y[0])
    exact = torch.autograd.grad(loss, [weights.parameters[name] for name in total])
    for name, gradient in zip(total, exact, strict=True):
        assert torch.allclose(total[name], gradient, atol=1e-6), name


def test_a_space_without_sharing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^search_space: .*evaluator=scratch"):
        ToySpace(length=2, base=2).sharing(TASK)


# Sampling ------------------------------------------------------------------------------------------------


def test_fair_sampling_is_strictly_fair_where_all_decisions_are_alike() -> None:
    """FairNAS, algorithm 1: every operation of every edge exactly once a meta-iteration."""
    space = composition("nasbench201", "protonet").space
    paths = fair(space, 0)
    for _ in range(5):
        cells = next(paths)
        assert len(cells) == 5
        for edge in range(6):
            assert len({cell.ops[edge] for cell in cells}) == 5


def test_fair_sampling_keeps_every_choice_within_one() -> None:
    """Of decisions that are met in every architecture, after any number of draws."""
    space = composition("conv_small", "protonet").space
    archs = [arch for _, some in zip(range(9), fair(space, 1), strict=False) for arch in some]
    for number in range(1, len(archs) + 1):
        for read in FIRST_BLOCK:
            counts = [sum(read(arch) == value for arch in archs[:number]) for value in set(map(read, archs))]
            assert max(counts) - min(counts) <= 1


TASK_8 = TaskSpec("classification", (1, 8, 8), 5, 20)


def blocks_trained(paths: Iterator[list[Any]], iterations: int) -> Counter[int]:
    """How many networks of each depth; every one can be built for images of 8x8."""
    archs = [arch for some in islice(paths, iterations) for arch in some]
    assert all(arch.downsamplings <= 3 for arch in archs)
    return Counter(len(arch.blocks) for arch in archs)


@pytest.mark.parametrize("depth", [6, 8])
def test_fair_sampling_is_fair_on_images_that_are_too_small_for_some(depth: int) -> None:
    """More than three downsamplings cannot be built; no draw is refused for that, nor any depth left out."""
    space = parse(composed([f"search_space.max_blocks={depth}"]), trusted=True).build("search_space")
    counts = blocks_trained(fair(space.buildable(TASK_8), 0), 20)
    assert set(counts) == set(range(2, depth + 1))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert space.max_downsamples == 4, "the space itself is as it was"


FIRST_BLOCK: list[Callable[[Any], Any]] = [
    lambda arch: arch.blocks[0].op,
    lambda arch: arch.blocks[0].width,
    lambda arch: arch.head,
    lambda arch: len(arch.blocks),
]


def test_uniform_sampling_is_uniform() -> None:
    """Each of 5 operations on an edge has 400 of 2000 draws, within four standard deviations."""
    space = composition("nasbench201", "protonet").space
    cells = [some[0] for _, some in zip(range(2000), uniform(space, 0), strict=False)]
    for edge in range(6):
        for op in {cell.ops[edge] for cell in cells}:
            assert abs(sum(cell.ops[edge] == op for cell in cells) - 400) < 72
