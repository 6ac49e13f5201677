"""Where a batch norm takes its statistics from."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasmeta.meta_learners.base import adopt_population
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks import batch_norm as normalization
from nasmeta.networks.batch_norm import EpisodicBatchNorm
from nasmeta.networks.forward_pass import ForwardPass, Kernels
from nasmeta.networks.kernels import batch_norm
from nasmeta.networks.kernels.batch_norm import normalize
from nasmeta.networks.layers import adopt
from nasmeta.networks.network import Network
from nasmeta.networks.policy import OWN, Statistics
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from tests.meta_learners import reference
from tests.meta_learners.options import learner, short

SHAPES = {nn.BatchNorm1d: (12, 5), nn.BatchNorm2d: (12, 5, 4, 3)}


@pytest.fixture(params=SHAPES, ids=lambda kind: kind.__name__)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, EpisodicBatchNorm, Tensor]:
    """A batch norm of torch's with odd weights, ours with the same, and an input; float64."""
    generator = torch.Generator().manual_seed(0)
    kind = request.param
    norm = kind(5, eps=1e-3).double()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(5, generator=generator, dtype=torch.float64))
    x = 2 + 3 * torch.randn(SHAPES[kind], generator=generator, dtype=torch.float64)
    return norm, EpisodicBatchNorm(norm, ForwardPass()), x.requires_grad_()


def test_own_statistics_are_torchs_training_mode(
    pair: tuple[nn.Module, EpisodicBatchNorm, Tensor],
) -> None:
    norm, ours, x = pair
    ours.current.statistics = OWN
    expected, got = norm(x), ours(x)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(y.pow(3).sum(), [x, norm.weight, norm.bias]) for y in (got, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernels", Kernels)
@pytest.mark.parametrize("rows", [None, 1])
def test_statistics_of_one_value_are_refused(kernels: Kernels, rows: int | None) -> None:
    """They would make every output the bias, and the queries beside it hundreds of times too large."""
    ours = EpisodicBatchNorm(nn.BatchNorm2d(5), ForwardPass())
    ours.current.kernels, ours.current.statistics = kernels, Statistics(rows=rows)
    with pytest.raises(ValueError, match="batch norm over one value"):
        ours(torch.randn((rows and 4) or 1, 5, 1, 1))


def test_each_task_by_itself(pair: tuple[nn.Module, EpisodicBatchNorm, Tensor]) -> None:
    norm, ours, x = pair
    ours.current.statistics = Statistics(tasks=3)
    torch.testing.assert_close(ours(x), torch.cat([norm(task) for task in x.chunk(3)]))
    assert not torch.allclose(ours(x), norm(x))


def test_first_rows_normalize_the_rest(pair: tuple[nn.Module, EpisodicBatchNorm, Tensor]) -> None:
    norm, ours, x = pair
    for tasks in (1, 3):
        ours.current.statistics = Statistics(tasks=tasks, rows=3)
        expected = []
        for task in x.chunk(tasks):
            first = task[:3].transpose(0, 1).flatten(1)
            shape = (-1, *[1] * (x.dim() - 2))
            mean, variance = (m.view(shape) for m in (first.mean(1), first.var(1, correction=0)))
            normal = (task - mean) / (variance + norm.eps).sqrt()
            expected.append(normal * norm.weight.view(shape) + norm.bias.view(shape))
        torch.testing.assert_close(ours(x), torch.cat(expected), rtol=1e-10, atol=1e-10)
        assert torch.autograd.gradcheck(ours, x, fast_mode=True)


@pytest.mark.parametrize("rows", [None, 3])
def test_derivatives_are_finite_differences(
    pair: tuple[nn.Module, EpisodicBatchNorm, Tensor], rows: int | None
) -> None:
    """In the input and in both weights; twice, where inner steps differentiate twice."""
    norm, ours, x = pair
    ours.current.statistics = Statistics(rows=rows)

    def of_everything(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normalize(x, weight, bias, len(x) if rows is None else rows, norm.eps)

    inputs = (x, norm.weight, norm.bias)
    assert torch.autograd.gradcheck(of_everything, inputs)
    if rows is None:
        assert torch.autograd.gradgradcheck(of_everything, inputs)
    else:
        (slope,) = torch.autograd.grad(ours(x).pow(2).sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiable once"):
            slope.sum().backward()


def test_fused_kernels_are_the_plain_ones(pair: tuple[nn.Module, EpisodicBatchNorm, Tensor]) -> None:
    _, ours, x = pair
    for rows in (None, 3):
        outputs, slopes = [], []
        for kernels in (Kernels.FUSED, Kernels.TWICE, Kernels.PLAIN):
            ours.current.become(ForwardPass(Statistics(rows=rows), kernels))
            outputs.append(ours(x))
            slopes.append(torch.autograd.grad(outputs[-1].pow(3).sum(), [x, ours.weight, ours.bias]))
        for found in (outputs, slopes):
            torch.testing.assert_close(found[0], found[2], rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(found[1], found[2], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("falling", [False, True], ids=["rising", "one falling channel"])
@pytest.mark.parametrize("rows", [None, 3])
@pytest.mark.parametrize("size", [(6, 4), (7, 5)], ids=["even", "odd"])
def test_pooled_inside_is_pooled_outside(
    size: tuple[int, int], rows: int | None, falling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With gradients (a map that counts as large) and without: first pooled, then normalized."""
    monkeypatch.setattr(normalization, "LARGE_MAP", 0)
    generator = torch.Generator().manual_seed(0)
    norm, pool = nn.BatchNorm2d(5, eps=1e-3).double(), nn.MaxPool2d(2)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(0.1 + torch.rand(5, generator=generator, dtype=torch.float64))
        if falling:
            norm.weight[2] *= -1
    x = torch.randn(12, 5, *size, generator=generator, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    current = ForwardPass(Statistics(rows=rows))
    apart, together = EpisodicBatchNorm(norm, current), EpisodicBatchNorm(norm, current, pool)
    expected, got = pool(apart(x)), together(x)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    slopes = [torch.autograd.grad(y.pow(3).sum(), [x, norm.weight, norm.bias]) for y in (got, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        judged = together(x)
    torch.testing.assert_close(judged, expected.detach(), rtol=1e-10, atol=1e-10)
    assert judged.is_contiguous(memory_format=torch.channels_last)


def test_all_rows_as_the_first_rows_are_the_own(
    pair: tuple[nn.Module, EpisodicBatchNorm, Tensor],
) -> None:
    _, ours, x = pair
    ours.current.statistics = Statistics(rows=len(x))
    got = ours(x)
    ours.current.statistics = OWN
    torch.testing.assert_close(got, ours(x), rtol=1e-10, atol=1e-10)


def test_population(pair: tuple[nn.Module, EpisodicBatchNorm, Tensor]) -> None:
    """Recorded over equal batches and adopted, the moments are those of all the batches together."""
    norm, ours, x = pair
    network = Network(nn.ModuleDict({"body": norm}))
    ours = network.norms[0]
    ours.current.statistics = Statistics(record=True)
    for part in x.chunk(4):
        torch.testing.assert_close(ours(part), norm(part))
    moments = network.population()
    everything = x.detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(moments["body.mean"], everything.mean(1))
    torch.testing.assert_close(moments["body.variance"], everything.var(1, correction=0))
    assert network.population() == {}, "a second call starts anew"

    network.set_population(moments)
    ours.current.statistics = Statistics(population=True)
    torch.testing.assert_close(torch.cat([ours(part) for part in x.chunk(12)]), norm(x))


@pytest.mark.parametrize(
    "statistics", [Statistics(record=True), Statistics(tasks=2, rows=3)], ids=["all", "rows"]
)
def test_moments_of_half_precision_are_summed_in_single(statistics: Statistics) -> None:
    """bfloat16 has eight bits, which a mean over a map needs beyond those of a number."""
    network = Network(nn.ModuleDict({"body": nn.BatchNorm2d(5)}))
    ours, generator = network.norms[0], torch.Generator().manual_seed(0)
    ours.current.statistics, ours.current.kernels = statistics, Kernels.PLAIN
    x = (20 + torch.randn(8, 5, 6, 6, generator=generator)).bfloat16()
    y = ours(x)
    if statistics.record:
        variance, mean = torch.var_mean(x.float(), (0, 2, 3), correction=0)
        moments = network.population()
        torch.testing.assert_close(moments["body.mean"], mean)
        torch.testing.assert_close(moments["body.variance"], variance)
        return
    for task, found in zip(x.float().chunk(2), y.chunk(2), strict=True):
        variance, mean = (m[:, None, None] for m in torch.var_mean(task[:3], (0, 2, 3), correction=0))
        expected = (task - mean) * (variance + ours.eps).rsqrt()
        torch.testing.assert_close(found, expected.bfloat16(), rtol=2**-7, atol=2**-7)


def test_names_and_weights_stay() -> None:
    module = conv_network()
    before = dict(module.named_parameters())
    norms = adopt(module, ForwardPass())
    assert len(norms) == 2
    assert not [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    after = dict(module.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in after)
    assert adopt(module, ForwardPass()) == norms, "ours are left as they are"


def test_a_norm_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^1: a batch norm"):
        adopt(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)), ForwardPass())


def activations(state: MetaState, x: Tensor) -> dict[str, Tensor]:
    """What the two norms see, when each batch normalizes itself; by hand."""
    weights = {name: p.detach() for name, p in state.parameters.items()}
    first = nn.functional.conv2d(x, weights["body.0.weight"], weights["body.0.bias"], padding=1)
    mean, deviation = first.mean((0, 2, 3), keepdim=True), first.var((0, 2, 3), correction=0, keepdim=True)
    normal = (first - mean) / (deviation + 1e-5).sqrt()
    hidden = nn.functional.avg_pool2d(nn.functional.gelu(normal), 2)  # norms start as weight 1, bias 0
    second = nn.functional.conv2d(hidden, weights["body.4.weight"], weights["body.4.bias"], padding=1)
    return {"body.1": first, "body.5": second}


@pytest.mark.parametrize("name", ["protonet", "anil"])
def test_adopted_statistics_by_hand(name: str) -> None:
    """ProtoNet sees all of a task at once; ANIL, whose body does not adapt, each task's queries apart."""
    running = learner(name, "running")
    state = init(running, conv_network(width=3).double())
    batches = [BlobSampler("train", dtype=torch.float64).batch(i, 2) for i in range(3)]
    with pytest.raises(RuntimeError, match="adopt_population"):
        running.predict(state, *BlobSampler("valid", dtype=torch.float64).batch(0, 1)[:3])
    assert state.network.population() == {}, "a prediction before the end of training records nothing"
    adopt_population(running, state, batches)

    if name == "protonet":
        groups = [task for b in batches for task in torch.cat([b.support_x, b.query_x], 1)]
    else:
        groups = [task for b in batches for task in b.query_x]
    seen = [activations(state, group) for group in groups]
    assert set(state.statistics) == {f"{n}.{m}" for n in ("body.1", "body.5") for m in ("mean", "variance")}
    for norm in ("body.1", "body.5"):
        everything = torch.cat([one[norm] for one in seen]).transpose(0, 1).flatten(1)
        torch.testing.assert_close(state.statistics[f"{norm}.mean"], everything.mean(1))
        torch.testing.assert_close(state.statistics[f"{norm}.variance"], everything.var(1, correction=0))


@pytest.mark.parametrize("name", ["maml", "reptile", "protonet", "finetune"])
def test_training_never_sees_the_population(name: str) -> None:
    """A training step is the same function before and after statistics are adopted, and records nothing."""
    running = short(name, "running")
    state = init(running, conv_network(width=3))
    batch = BlobSampler("train").batch(0, 2)
    before, _ = running.meta_gradient(state, batch, 0)
    assert state.network.population() == {}
    adopt_population(running, state, [BlobSampler("train").batch(1, 2)])
    after, _ = running.meta_gradient(state, batch, 0)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("policy", ["support", "transductive"])
def test_other_policies_adopt_nothing(policy: str) -> None:
    protonet = learner("protonet", policy)
    state = init(protonet, conv_network())
    adopt_population(protonet, state, [BlobSampler("train").batch(0, 1)])
    assert state.statistics == {}


def test_the_reference_network_is_the_network() -> None:
    module = conv_network(width=3).double()
    x = BlobSampler("train", dtype=torch.float64).batch(0, 1).query_x[0]
    expected = reference.network(dict(module.named_parameters()), x)
    torch.testing.assert_close(module.train()(x), expected, rtol=1e-10, atol=1e-10)


def test_cuda_is_given_what_its_kernels_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels_last images need both saved moments there, which a CPU only reads in training mode."""
    calls = []

    def spy(*arguments: Any) -> Any:
        calls.append(arguments)
        return torch.ops.aten.native_batch_norm_backward.default(*arguments)

    monkeypatch.setattr(batch_norm, "NORM_BACKWARD", spy)
    weight, bias = torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    for function in (batch_norm.normalize, batch_norm.normalize_and_pool):
        for rows in (2, 4):
            x = torch.arange(4.0 * 3 * 6 * 6).sin().view(4, 3, 6, 6).requires_grad_()
            function(x, weight, bias, rows, 1e-5).square().sum().backward()
    assert len(calls) == 4
    assert all(isinstance(moments, Tensor) for call in calls for moments in call[5:7])


def test_a_derivative_that_is_not_written_out_is_refused() -> None:
    """Where the incoming gradients are constant, it would be wrong without a word: x and gamma are not."""
    x = torch.arange(4.0 * 3 * 6 * 6).sin().view(4, 3, 6, 6).double().requires_grad_()
    weight, bias = torch.rand(3, dtype=torch.float64, requires_grad=True), torch.zeros(3).double()
    once = batch_norm.normalize_and_pool(x, weight, bias, 4, 1e-5)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(once.sum(), x, create_graph=True)
    twice = batch_norm.normalize(x, weight, bias, 4, 1e-5)
    (first,) = torch.autograd.grad(twice.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable twice"):
        torch.autograd.grad(first.square().sum(), x, create_graph=True)
