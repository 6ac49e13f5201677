"""Traced forward passes: the bits of untraced ones, for whatever network, or none at all."""

import gc
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasmeta.meta_learners.base import MetaState
from nasmeta.networks import batch_norm as normalization
from nasmeta.networks import traced
from nasmeta.networks.execution import Execution
from nasmeta.networks.traced import Traces
from nasmeta.task import TaskSpec
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init, training_sampler
from tests.meta_learners.options import learner, short
from tests.search_spaces.shipped import FILES, shipped

TASK = TaskSpec("classification", (1, 16, 16), 5, 5)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "OFTEN", 2)


def called(
    network: Callable[..., Tensor], parameters: list[Tensor], x: Tensor, times: int = 4
) -> list[Tensor]:
    """The result and the gradients of the last call."""
    for _ in range(4):
        y = network(x, *parameters)
    return [y, *torch.autograd.grad(y.square().sum(), parameters)]


def test_a_trace_is_used_from_the_second_call_on() -> None:
    calls = []

    def forward(x: Tensor, weight: Tensor) -> Tensor:
        calls.append(x)
        return (x @ weight).relu()

    traces, weight = Traces(), torch.eye(3, requires_grad=True)
    for size in (2, 4):
        for _ in range(5):
            x = torch.arange(3.0 * size).view(size, 3)
            assert torch.equal(traces(forward, x, [weight]), x)
    assert len(calls) == 2 * (1 + 2), "one untraced, then traced and compared, for each of two shapes"


def test_a_trace_is_differentiated() -> None:
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return (x @ weight).sigmoid()

    weight, x = torch.eye(3, requires_grad=True), torch.arange(6.0).view(2, 3)
    traces = Traces()
    found = called(lambda x, w: traces(forward, x, [w]), [weight], x)
    assert all(torch.equal(a, b) for a, b in zip(found, called(forward, [weight], x), strict=True))


def by_value(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight if x.sum() > 0 else x


def by_number(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight * float(x.sum())


RNG = np.random.default_rng(0)


def changing(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight * RNG.uniform()


@pytest.mark.parametrize("forward", [by_value, by_number, changing])
def test_what_no_trace_can_say_is_not_traced(forward: Callable[..., Tensor]) -> None:
    traces, weight, x = Traces(), torch.eye(3, requires_grad=True), torch.ones(2, 3)
    for _ in range(5):
        traces(forward, x, [weight])
    assert list(traces._traces.values()) == [None]


def test_without_torchscript_passes_are_computed_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_create_function_from_graph")
    traces, weight, x = Traces(), torch.eye(3, requires_grad=True), torch.ones(2, 3)
    for _ in range(5):
        assert torch.equal(traces(lambda x, w: x @ w, x, [weight]), x)


def adapted(name: str, module: nn.Module, task_parallel: str) -> tuple[MetaState, list[Tensor]]:
    """The state, and a meta-gradient and predictions after some that led to a trace."""
    chosen = short(name, "transductive")
    state = init(chosen, module)
    state.network.execution = Execution(task_parallel)  # type: ignore[arg-type]
    batch = training_sampler(chosen).batch(0, 3)
    valid = BlobSampler("valid").batch(0, 3)
    for _ in range(2):
        gradients, metrics = chosen.meta_gradient(state, batch, 0)
        predictions = chosen.predict(state, *valid[:3])
    return state, [*gradients.values(), *metrics.values(), predictions]


@pytest.mark.parametrize("name", ["fomaml", "reptile", "boil", "maml"])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, lambda width: nn.GroupNorm(2, width)])
def test_learners_get_the_same_bits(
    name: str, norm: Callable[[int], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    state, found = adapted(name, conv_network(norm), "threads")
    known = list(state.network._traces._traces.values())
    assert None not in known
    assert known or name == "maml", "what is differentiated twice is not traced"
    monkeypatch.setattr(traced, "OFTEN", 10**9)
    _, expected = adapted(name, conv_network(norm), "threads")
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


SPACES = [path.stem for path in FILES if path.stem != "mlp"]  # no images


@pytest.mark.parametrize("name", SPACES)
def test_the_networks_of_every_space_are_traced(name: str) -> None:
    chosen, space, rng = learner("fomaml", "transductive"), shipped(name), np.random.default_rng(0)
    x = BlobSampler("train").batch(0, 1).support_x[0]
    for arch in [space.reference(), *(space.sample(rng) for _ in range(6))]:
        state = init(chosen, space.build(arch, TASK), TASK)
        network, names = state.network, list(state.network_parameters)

        def forward(x: Tensor, *values: Tensor, network=network, names=names) -> Tensor:
            return network(dict(zip(names, values, strict=True)), x)

        found = []
        for task_parallel in ("threads", "loop"):
            network.execution = Execution(task_parallel)  # type: ignore[arg-type]
            found.append(called(forward, list(state.network_parameters.values()), x))
        assert None not in network._traces._traces.values(), arch
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True)), arch


def test_threads_share_a_trace() -> None:
    traces, weight, x = Traces(), torch.eye(3, requires_grad=True), torch.ones(2, 3)
    results: list[Tensor] = []

    def work() -> None:
        for _ in range(50):
            results.append(traces(lambda x, w: x @ w, x, [weight]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200
    assert all(torch.equal(y, x) for y in results)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_traces_keep_no_memory() -> None:
    """torch.jit.trace would keep half a megabyte of each."""
    state = init(learner("fomaml", "transductive"), conv_network())
    x, parameters = BlobSampler("train").batch(0, 1).support_x[0], state.network_parameters

    def trace(times: int) -> None:
        state.network.execution = Execution("threads")
        for _ in range(times):
            state.network.to(torch.device("cpu"))  # forgets its traces
            for _ in range(3):
                state.network(parameters, x)
            assert None not in state.network._traces._traces.values()
        gc.collect()

    trace(20)
    before = resident_mib()
    trace(80)
    assert resident_mib() - before < 10


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def test_large_maps_stay_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They need half the memory then."""
    chosen = learner("fomaml", "transductive")
    for large, traces in ((0, [None]), (10**9, [True])):
        monkeypatch.setattr(normalization, "LARGE", large)
        network = init(chosen, shipped("conv").build(shipped("conv").reference(), TASK), TASK).network
        network.execution = Execution("threads")
        parameters = {n: p.detach().requires_grad_() for n, p in network.module.named_parameters()}
        for _ in range(3):
            network(parameters, BlobSampler("train").batch(0, 1).support_x[0])
        assert [trace and True for trace in network._traces._traces.values()] == traces
