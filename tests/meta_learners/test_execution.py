"""How a meta-step is carried out changes nothing but rounding, and bounds what is in memory."""

import gc
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasmeta.errors import ConfigError
from nasmeta.meta_learners.base import MetaLearner, adopt_population
from nasmeta.meta_learners.gradients import Gradients
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks import execution as module
from nasmeta.networks import network
from nasmeta.networks.execution import Execution, check
from nasmeta.networks.kernels import stacked
from nasmeta.networks.out_of_memory import out_of_memory
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.task import TaskBatch
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init, training_sampler
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.optimizers import sgd
from tests.meta_learners.options import LEARNERS, VARIANTS, short

CPU = torch.device("cpu")
TASKS = 3
SETTINGS = {
    "threads": Execution("threads"),
    "vmap": Execution("vmap"),
    "vmap in chunks": Execution("vmap", task_chunk=2),
    "vmap as on a GPU": Execution("vmap"),
}


def outcome(learner: MetaLearner, execution: Execution, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Meta-gradient, metrics and predictions of a few tasks."""
    state = init(learner, conv_network(width=4).to(dtype))
    state.network.execution = execution
    sampler = BlobSampler("train", way=learner.train_way or 5, query=2, dtype=dtype)
    gradients, metrics = learner.meta_gradient(state, sampler.batch(0, TASKS), 0)
    valid = BlobSampler("valid", query=2, dtype=dtype).batch(0, TASKS)
    adopt_population(learner, state, [sampler.batch(1, TASKS)])
    assert list(gradients) == list(state.parameters)
    return [*gradients.values(), *metrics.values(), learner.predict(state, *valid[:3])]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", VARIANTS)
def test_settings_agree(
    name: str, setting: str, policy: BatchNormPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(stacked, "grouped_are_slow", lambda device: "GPU" in setting)
    learner = short(name, policy)
    torch.testing.assert_close(
        outcome(learner, SETTINGS[setting]), outcome(learner, Execution("loop")), rtol=1e-7, atol=1e-8
    )


def test_threads_are_used_and_their_number_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, seen = short("fomaml", "support"), set()
    inner = learner._meta_gradient

    def spy(state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        seen.add(threading.current_thread())
        return inner(state, batch, iteration)

    monkeypatch.setattr(learner, "_meta_gradient", spy)
    results = []
    for workers in (2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=workers: count)
        results.append(outcome(learner, Execution("threads"), torch.float32))
    assert seen
    assert threading.main_thread() not in seen
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("task_parallel, largest", [("loop", 1), ("threads", 1), ("vmap", 2)])
def test_a_chunk_bounds_the_tasks_at_once(
    task_parallel: str, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, sizes = short("maml", "transductive"), []
    inner = learner._meta_gradient

    def spy(state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        sizes.append(len(batch.support_x))
        return inner(state, batch, iteration)

    monkeypatch.setattr(learner, "_meta_gradient", spy)
    outcome(learner, Execution(task_parallel, task_chunk=2))  # type: ignore[arg-type]
    assert sum(sizes) == TASKS
    assert max(sizes) == largest


def test_smaller_halves_down_to_one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    chunks, execution = [], Execution("vmap")
    while (smaller := execution.smaller(tasks=5)) is not None:
        chunks.append(smaller.task_chunk)
        execution = smaller
    assert chunks == [2, 1]
    assert Execution("loop").smaller(tasks=5) is None
    assert Execution("threads").smaller(tasks=20) == Execution("threads", task_chunk=4)


@pytest.mark.parametrize("parallel", ["loop", "vmap"])
@pytest.mark.parametrize("name", LEARNERS)
def test_half_precision_is_near_and_leaves_float32(name: str, parallel: Any) -> None:
    learner = short(name, "support")
    full = outcome(learner, Execution("loop"), torch.float32)
    half = outcome(learner, Execution(parallel, precision="bf16"), torch.float32)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in half)
    assert not torch.equal(half[-1], full[-1]), "bfloat16 was not used"
    assert (half[-1].argmax(-1) == full[-1].argmax(-1)).float().mean() > 0.8


def test_a_compiled_network_is_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated as for any backend; the default one would compile C++ for half a minute."""
    from torch._dynamo.utils import counters  # takes a second to import

    traced = torch.compile(network.functional_call, backend="aot_eager")
    monkeypatch.setattr(network, "_compile", lambda: traced)
    learner = short("protonet", "support")
    graphs = counters["stats"]["unique_graphs"]
    compiled = outcome(learner, Execution("loop", compile=True), torch.float32)
    assert counters["stats"]["unique_graphs"] > graphs
    torch.testing.assert_close(
        compiled, outcome(learner, Execution("loop"), torch.float32), rtol=1e-3, atol=1e-5
    )


def test_auto_is_decided_by_the_network_and_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, mlp = nn.Sequential(nn.Conv2d(1, 1, 1)), nn.Sequential(nn.Linear(1, 1))
    cuda, auto = torch.device("cuda"), Execution("auto")
    for cores, expected in ((2, "threads"), (1, "loop")):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=cores: count)
        assert auto.resolved(conv, CPU).task_parallel == expected
        assert replace(auto, compile=True).resolved(conv, CPU).task_parallel == "loop"
        assert auto.resolved(mlp, CPU).task_parallel == "vmap"
        assert auto.resolved(conv, cuda).task_parallel == "vmap"
        assert Execution("loop").resolved(conv, cuda).task_parallel == "loop"


def versions(of_triton: str | None) -> Callable[[str], str]:
    """importlib.metadata.version with this Triton, or without one."""

    def version(name: str) -> str:
        if of_triton is None or name != "triton":
            raise PackageNotFoundError(name)
        return of_triton

    return version


@pytest.mark.parametrize(
    "device, capability, installed, compiled, kernels, precision",
    [
        ("cpu", (9, 0), True, False, "torch", "fp32"),
        ("mps", (9, 0), True, False, "torch", "fp32"),
        ("cuda", (9, 0), "3.6.0", False, "triton", "fp32 with tf32 convolutions"),
        ("cuda:1", (9, 0), "3.10.0", False, "triton", "fp32 with tf32 convolutions"),
        ("cuda", (8, 0), "3.6.0", False, "torch", "fp32 with tf32 convolutions"),
        ("cuda", (12, 0), "3.6.0", False, "torch", "fp32 with tf32 convolutions"),
        ("cuda", (7, 5), "3.6.0", False, "torch", "fp32"),
        ("cuda", (9, 0), "3.5.1", False, "torch", "fp32 with tf32 convolutions"),
        ("cuda", (9, 0), None, False, "torch", "fp32 with tf32 convolutions"),
        ("cuda", (9, 0), "3.6.0", True, "torch", "fp32 with tf32 convolutions"),
    ],
)
def test_auto_kernels_and_precision_are_decided_by_the_device(
    device: str,
    capability: tuple[int, int],
    installed: str | None,
    compiled: bool,
    kernels: str,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(module, "version", versions(installed))
    monkeypatch.setattr(module, "_triton_works", lambda device: True)
    auto = Execution("loop", compile=compiled, precision="auto", kernels="auto")
    place, conv = torch.device(device), nn.Sequential(nn.Conv2d(1, 1, 1))
    check(auto, place, second_order=not compiled)
    resolved = auto.resolved(conv, place)
    assert (resolved.kernels, resolved.measured_only) == (kernels, True)
    assert resolved.resolved(conv, place) == resolved
    assert auto.in_use(place) == {"kernels": kernels, "precision": precision}


@pytest.mark.parametrize("kernels", ["torch", "triton"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_what_is_named_is_in_use(kernels: Any, precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    named = Execution("loop", precision=precision, kernels=kernels)
    used = "triton with group norms" if kernels == "triton" else kernels
    for device in (CPU, torch.device("cuda")):
        assert named.resolved(nn.Identity(), device) == named
        assert named.in_use(device) == {"kernels": used, "precision": precision}


@pytest.mark.extra("triton")
@pytest.mark.parametrize("kernel", ["norm.norm_activation_pool", "convolution.convolve"])
def test_auto_is_torch_where_triton_cannot_build(
    kernel: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where there is no C compiler."""

    def build(*arguments: Any) -> Tensor:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one.")

    monkeypatch.setattr(f"nasmeta.networks.kernels.triton.{kernel}", build)
    module._triton_works.cache_clear()
    assert not module._triton_works(CPU)
    assert "torch computes the layers, since Triton cannot build its kernels: Failed to find C" in caplog.text
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(module, "_triton_works", lambda device: False)
    assert Execution(kernels="auto").in_use(torch.device("cuda"))["kernels"] == "torch"


def test_kernels_that_nothing_resolved_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("norm", "convolution"):
        monkeypatch.setitem(
            sys.modules, f"nasmeta.networks.kernels.triton.{name}", None
        )  # not to be imported
    learner = short("protonet", "support")
    auto, plain = Execution("loop", precision="auto", kernels="auto"), Execution("loop")
    for one, other in zip(
        outcome(learner, auto, torch.float32), outcome(learner, plain, torch.float32), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "execution, second_order, message",
    [
        (Execution(precision="tf32"), False, "^precision: tf32"),
        (Execution("threads", compile=True), False, "^compile: .* threads"),
        (Execution(compile=True), True, "^compile: .* twice"),
        (Execution(kernels="triton"), False, "^kernels: triton is not installed"),
    ],
)
def test_what_cannot_go_together_is_refused(
    execution: Execution, second_order: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "version", versions(None))
    with pytest.raises(ConfigError, match=message):
        check(execution, CPU, second_order)
    check(Execution("threads", precision="bf16"), CPU, True)


def test_triton_is_for_gpus_and_its_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Execution(kernels="triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(module, "version", versions("3.5.1"))
    with pytest.raises(ConfigError, match=r"^kernels: triton is installed as 3\.5\.1.*3\.6 or newer"):
        check(asked, CPU, second_order=True)
    monkeypatch.setattr(module, "version", versions("3.6.0"))
    check(asked, CPU, second_order=True)
    with pytest.raises(ConfigError, match=r"^compile: .*kernels=torch"):
        check(replace(asked, compile=True), CPU, second_order=False)
    monkeypatch.delenv("TRITON_INTERPRET")
    check(asked, torch.device("cuda"), second_order=True)
    with pytest.raises(ConfigError, match=r"^kernels: .*device is cpu.*kernels=torch"):
        check(asked, CPU, second_order=False)


def test_running_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as too_much:
        torch.empty(2**55)
    assert out_of_memory(too_much.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize("task_parallel", ["threads", "vmap"])
def test_memory_does_not_grow_from_iteration_to_iteration(
    task_parallel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a few dozen second-order meta-iterations: as many live numbers at the end as near the start."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    learner = short("maml", "support")
    state = init(learner, conv_network(width=2))
    state.network.execution = Execution(task_parallel)  # type: ignore[arg-type]
    optimizer = sgd(lr=0.01, momentum=0.0, nesterov=False, weight_decay=0.0, schedule="constant", warmup=0.0)
    training = MetaTraining(
        learner, state, training_sampler(learner), optimizer, iterations=10**6, meta_batch=2
    )
    batch = training.sampler.batch(0, 2)
    counts = []
    for _ in range(3):
        for _ in range(10):
            training.step_on(batch)
        training.read()
        gc.collect()
        counts.append(sum(o.numel() for o in gc.get_objects() if isinstance(o, Tensor)))
    assert counts[2] <= counts[0]
