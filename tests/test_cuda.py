"""What the CPU's tests cannot see: the same numbers on a GPU, the same bits from recorded steps.

Skipped where there is no CUDA device, so CI does not run them: CONTRIBUTING.md says when to.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch import Tensor, nn

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.meta_learners.base import adopt_population
from nasmeta.networks.execution import TRITON, Execution
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.run.composition import Composition
from nasmeta.runtime import device
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE
from nasmeta.strategies.progress_file import ProgressFile
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init, training_sampler
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.optimizers import adam, sgd
from nasmeta.training.problem import Problem
from nasmeta.training.score import score
from tests.meta_learners.options import VARIANTS, short
from tests.meta_learners.test_cuda_graphs import Reads

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

POLICIES = list(BatchNormPolicy)
OPTIMIZER = adam(lr=0.01, beta1=0.9, beta2=0.999, weight_decay=0.0, schedule="constant", warmup=0.0)
LAUNCHED, RECORDED = Execution("vmap"), Execution("vmap", cuda_graphs="auto")


@pytest.fixture(autouse=True)
def _as_in_a_run() -> None:
    device.pick("cuda", "fp32")


@pytest.fixture
def never_waits() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


def group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(1, channels)


def outcome(
    name: str,
    policy: BatchNormPolicy,
    execution: Execution,
    place: str,
    dtype: torch.dtype = torch.float64,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
) -> list[Tensor]:
    """Metrics, a meta-gradient and predictions, brought to the host."""
    learner = short(name, policy)
    state = init(learner, conv_network(norm, width=4).to(dtype)).to(torch.device(place))
    state.network.execution = execution
    train = BlobSampler("train", way=learner.train_way or 5, query=2, dtype=dtype, device=place)
    batch = train.batch(0, 3)
    valid = BlobSampler("valid", query=2, dtype=dtype, device=place).batch(0, 3)
    learner.meta_gradient(state, batch, 0)  # loads libraries, which may wait
    adopt_population(learner, state, [train.batch(1, 3)])
    learner.predict(state, *valid[:3])
    torch.cuda.set_sync_debug_mode("error" if place == "cuda" else "default")
    gradients, metrics = learner.meta_gradient(state, batch, 0)
    predictions = learner.predict(state, *valid[:3])
    torch.cuda.set_sync_debug_mode("default")
    return [value.cpu() for value in (*metrics.values(), *gradients.values(), predictions)]


@pytest.mark.parametrize("task_parallel", ["vmap", "loop"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_numbers_of_a_cpu_without_waiting(
    name: str, policy: BatchNormPolicy, task_parallel: Any, never_waits: None
) -> None:
    there = outcome(name, policy, Execution(task_parallel), "cuda")
    here = outcome(name, policy, Execution("loop"), "cpu")
    torch.testing.assert_close(there, here, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", VARIANTS)
def test_single_precision_has_kernels_of_its_own(
    name: str, policy: BatchNormPolicy, never_waits: None
) -> None:
    """Task by task, images stay channels_last, for which cuDNN and PyTorch have others."""
    there = outcome(name, policy, Execution("loop"), "cuda", torch.float32)
    here = outcome(name, policy, Execution("loop"), "cpu", torch.float32)
    torch.testing.assert_close(there[0], here[0], rtol=1e-2, atol=1e-3)  # the loss
    assert all(value.isfinite().all() for value in there)


@pytest.mark.parametrize("task_parallel", ["vmap", "loop"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", VARIANTS)
def test_triton_has_the_same_numbers_without_waiting(
    name: str, policy: BatchNormPolicy, task_parallel: Any, never_waits: None
) -> None:
    """The loss to a few digits: after the steps of an inner loop, others may differ more."""
    one, other = (
        outcome(name, policy, Execution(task_parallel, kernels=kernels), "cuda", torch.float32)
        for kernels in ("triton", "torch")
    )
    torch.testing.assert_close(one[0], other[0], rtol=1e-2, atol=1e-3)
    assert all(value.isfinite().all() for value in one)


@pytest.mark.parametrize("task_parallel", ["vmap", "loop"])
@pytest.mark.parametrize("name", VARIANTS)
def test_group_norms_of_triton_have_the_same_numbers_without_waiting(
    name: str, task_parallel: Any, never_waits: None
) -> None:
    def by(kernels: Any) -> list[Tensor]:
        execution = Execution(task_parallel, kernels=kernels)
        return outcome(name, BatchNormPolicy.SUPPORT, execution, "cuda", torch.float32, group_norm)

    one, other = by("triton"), by("torch")
    torch.testing.assert_close(one[0], other[0], rtol=1e-2, atol=1e-3)
    assert all(value.isfinite().all() for value in one)


@pytest.mark.parametrize("activation, pooling", [("gelu", "avg"), ("relu", "max"), ("silu", "none")])
@pytest.mark.parametrize("dtype, rounding", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("channels, groups", [(64, 8), (48, 8), (12, 2), (5, 1), (130, 2)])
def test_group_norms_of_triton_are_the_formulas_and_the_same_twice(
    channels: int, groups: int, dtype: torch.dtype, rounding: float, activation: Any, pooling: Any
) -> None:
    """With all derivatives, for several tiles and programs an image; beside double precision."""
    from nasmeta.networks.kernels.triton.group_norm import group_norm_activation_pool, reference

    draw = torch.Generator("cuda").manual_seed(0)
    x = torch.randn(3, 40, channels, 15, 14, generator=draw, device="cuda").to(dtype)
    gamma, beta = torch.randn(2, 3, channels, generator=draw, device="cuda")
    found = []
    for way in (group_norm_activation_pool, group_norm_activation_pool, reference):
        inputs = [t.double() if way is reference else t.clone() for t in (x, gamma, beta)]
        leaves = [tensor.requires_grad_() for tensor in inputs]
        y = way(*leaves, groups, 1e-5, activation, pooling)
        direction = torch.linspace(-1, 1, y.numel(), device="cuda").sin().view(y.shape).to(dtype)
        found.append((y, *torch.autograd.grad(y, leaves, direction.to(y.dtype))))
    for one, again, exact in zip(*found, strict=True):
        assert torch.equal(one, again)
        assert (one - exact).norm() < rounding * exact.norm()


def test_auto_is_triton_and_torchs_own_precision() -> None:
    place = device.pick("cuda", "auto")
    auto = Execution("auto", precision="auto", kernels="auto")
    measured = torch.cuda.get_device_capability()[0] == 9
    expected = "triton" if measured and Version(version("triton")) >= TRITON else "torch"
    assert auto.resolved(conv_network(), place).kernels == expected
    assert auto.in_use(place)["kernels"] == expected
    assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("precision, rounding", [("fp32", 1e-5), ("tf32", 2e-3), ("bf16", 1e-2)])
@pytest.mark.parametrize("kernel, stride", [(1, 1), (3, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("channels", [1, 48])
def test_convolutions_of_triton_are_torchs_and_the_same_twice(
    channels: int, kernel: int, stride: int, precision: Any, rounding: float
) -> None:
    """With both derivatives, for several blocks of places and channels; beside double precision."""
    from nasmeta.networks.kernels import stacked
    from nasmeta.networks.kernels.triton.convolution import convolve

    device.pick("cuda", precision)
    draw = torch.Generator("cuda").manual_seed(0)
    x = torch.randn(3, 40, channels, 15, 14, generator=draw, device="cuda")
    w = torch.randn(3, 80, channels, kernel, kernel, generator=draw, device="cuda")
    half = precision == "bf16"
    x, w = (tensor.bfloat16() if half else tensor for tensor in (x, w))
    found = [
        (y, *torch.autograd.grad(y.square().sum(), inputs))
        for way, dtype in ((convolve, x.dtype), (convolve, x.dtype), (stacked.convolve, torch.float64))
        for inputs in [[tensor.detach().to(dtype).requires_grad_() for tensor in (x, w)]]
        for y in [way(*inputs, stride, kernel // 2)]
    ]
    for one, again, exact in zip(*found, strict=True):
        assert torch.equal(one, again)
        assert (one - exact).norm() < rounding * exact.norm()


def trained(name: str, policy: BatchNormPolicy, execution: Execution) -> tuple[MetaTraining, list[Tensor]]:
    """After a few meta-iterations, and the parameters, metrics and scores that they led to."""
    training = begun(name, policy, execution)
    for _ in range(5):
        training.step()
    return training, told(training)


def begun(name: str, policy: BatchNormPolicy, execution: Execution) -> MetaTraining:
    learner = short(name, policy)
    state = init(learner, conv_network()).to(torch.device("cuda"))
    state.network.execution = execution
    sampler = training_sampler(learner, device="cuda")
    return MetaTraining(learner, state, sampler, OPTIMIZER, iterations=5, meta_batch=3)


def told(training: MetaTraining) -> list[Tensor]:
    progress = training.read()
    training.finish()
    found = score(training.learner, training.state, BlobSampler("valid", device="cuda"), 70)
    values = [p.detach() for p in training.state.parameters.values()]
    assert found.answers is not None
    metrics = torch.tensor([progress.loss, progress.accuracy or 0.0])
    return [*values, metrics, found.answers.logits, found.per_task]


@pytest.mark.parametrize("graphs", ["auto", True])
@pytest.mark.parametrize("kernels", ["torch", "triton"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", VARIANTS)
def test_recorded_steps_have_the_same_bits(
    name: str, policy: BatchNormPolicy, kernels: Any, graphs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Gradients alone, and with the optimizer's step."""
    with caplog.at_level(logging.WARNING):
        training, recorded = trained(name, policy, replace(RECORDED, kernels=kernels, cuda_graphs=graphs))
    assert not caplog.records, caplog.text
    assert (training._meta_step is not None) == (graphs is True)
    assert (training._meta_step or training._meta_gradient)._recording is not None or "multi-step" in name
    _, launched = trained(name, policy, replace(LAUNCHED, kernels=kernels))
    for one, other in zip(recorded, launched, strict=True):
        assert torch.equal(one, other)


RELAXED = ["search_space=nasbench201", "task.meta_batch=4", "task_parallel=vmap", "device=cuda"]


@pytest.mark.parametrize("options", [[], ["strategy.second_order=true"]], ids=["first order", "second order"])
def test_recorded_steps_of_darts_have_the_same_bits(options: list[str]) -> None:
    found = []
    for graphs in ("true", "false"):
        keys = ["dataset=strokes", "strategy=differentiable", *RELAXED, *options, f"cuda_graphs={graphs}"]
        whole = Composition.of(parse(composed(keys), trusted=True))
        strategy = whole.strategy(lambda arch: True, ProgressFile(None, seconds=1e9, stop=lambda: False))
        training = strategy._running()
        for _ in range(5):
            training.step()
        kept = (training._architecture_gradient, training._weight_gradient)
        assert [each._recording is not None for each in kept] == [graphs == "true"] * 2
        found.append([p.detach() for p in training.state.parameters.values()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("learner", ["maml", "reptile"])
def test_recorded_steps_of_an_architecture_for_every_task_have_the_same_bits(learner: str) -> None:
    found = []
    for graphs in ("true", "false"):
        keys = [f"meta_learner={learner}", "strategy=meta_differentiable", "strategy.warmup=2", *RELAXED]
        keys = ["dataset=strokes", *keys, f"cuda_graphs={graphs}"]
        problem = Composition.of(parse(composed(keys), trusted=True)).problem
        training = problem.training(ADAPTIVE, 6)
        while not training.done:
            training.step()
        kept = training._meta_step or training._meta_gradient
        assert (kept._recording is not None) == (graphs == "true")
        found.append([p.detach() for p in training.state.parameters.values()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("graphs", ["auto", True])
def test_resumed_training_has_the_same_bits(graphs: Any) -> None:
    execution = replace(RECORDED, cuda_graphs=graphs)
    _, unbroken = trained("fomaml", "support", execution)
    first, second = begun("fomaml", "support", execution), begun("fomaml", "support", execution)
    for _ in range(3):
        first.step()
    second.load_state_dict(first.state_dict())
    while not second.done:
        second.step()
    assert all(torch.equal(one, other) for one, other in zip(told(second), unbroken, strict=True))


@pytest.mark.parametrize("make", [adam, sgd], ids=["adam", "sgd"])
def test_the_optimizer_of_one_kernel_does_as_on_a_cpu(make: Any) -> None:
    options = {"beta1": 0.9, "beta2": 0.999} if make is adam else {"momentum": 0.9, "nesterov": True}
    outer = make(lr=0.1, weight_decay=0.01, schedule="constant", warmup=0.0, **options)
    found = []
    for place in ("cuda", "cpu"):
        parameter = torch.linspace(-1, 1, 24, dtype=torch.float64, device=place).view(2, 3, 4, 1)
        optimizer = outer.make([parameter.requires_grad_()])
        for _ in range(3):
            parameter.grad = parameter.detach().square()
            optimizer.step()
        found.append(parameter.detach().cpu())
        assert bool(optimizer.defaults["fused"]) == (place == "cuda")
    torch.testing.assert_close(*found)


def test_what_cannot_be_recorded_is_launched(caplog: pytest.LogCaptureFixture) -> None:
    learner = Reads(
        distance="euclidean", learn_temperature=False, train_way=None, batch_norm=BatchNormPolicy.SUPPORT
    )
    results = []
    for execution in (RECORDED, LAUNCHED):
        state = init(learner, conv_network()).to(torch.device("cuda"))
        state.network.execution = execution
        sampler = training_sampler(learner, device="cuda")
        training = MetaTraining(learner, state, sampler, OPTIMIZER, iterations=5, meta_batch=3)
        for _ in range(4):
            training.step()
        results.append(told(training))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["cuda_graphs"]


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("name", ["protonet", "fomaml", "reptile"])
def test_other_precisions_are_near(name: str, precision: Any) -> None:
    _, full = trained(name, "support", LAUNCHED)
    device.pick("cuda", precision)
    _, other = trained(name, "support", Execution("vmap", precision=precision, cuda_graphs=True))
    assert float((full[-1].mean() - other[-1].mean()).abs()) < 0.1
    assert not torch.equal(full[0], other[0])


def test_a_meta_batch_that_does_not_fit_is_cut() -> None:
    """Recorded or not, the tasks that fit are computed; the loss is that of all at once, but for rounding."""
    keys = ["dataset=strokes", "meta_learner=maml", "task.meta_batch=16", "device=cuda"]
    losses, memory = [], torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    for limit in (memory, torch.cuda.memory_reserved() + 1.5 * 2**30):  # other tests may hold some
        problem = Composition.of(parse(composed(keys), trusted=True)).problem
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(limit / memory)
        try:
            loss, fitted = problem.retry_on_oom(problem.space.reference(), _loss_after_three)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        losses.append(loss)
        assert (fitted.execution.task_chunk is None) == (limit == memory)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def _loss_after_three(problem: Problem) -> float:
    training = problem.training(problem.space.reference(), 3)
    for _ in range(3):
        training.step()
    return training.read().loss
