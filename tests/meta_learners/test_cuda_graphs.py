"""When calls are launched, recorded and replayed; tests/test_cuda.py looks at the bits on a GPU."""

import copy
import gc
import logging
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasmeta.meta_learners.gradients import Gradients
from nasmeta.meta_learners.protonet import ProtoNet
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.execution import Execution, Recording
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.task import TaskBatch
from nasmeta.testing.meta_learners import (
    BlobSampler,
    MetaLearnerContract,
    conv_network,
    init,
    training_sampler,
)
from nasmeta.testing.recording import simulated_graphs
from nasmeta.training import cuda_graphs
from nasmeta.training.cuda_graphs import Recorded
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.optimizers import OuterOptimizer, adam, rmsprop, sgd
from nasmeta.training.score import TASKS_AT_ONCE, score
from tests.meta_learners.options import learner

ADAM = adam(lr=0.01, beta1=0.9, beta2=0.99, weight_decay=0.01, schedule="linear", warmup=0.4)
SGD = sgd(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0, schedule="cosine", warmup=0.0)
RMSPROP = rmsprop(lr=0.01, alpha=0.9, momentum=0.5, weight_decay=0.0, schedule="linear", warmup=0.0)
X = torch.arange(3.0)
OPTIMIZER = sgd(lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0, schedule="constant", warmup=0.0)


class Log:
    """What happened: launched and recorded calls of a function, and replays of a fake recording."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, recordable: bool = True, on: bool = True) -> None:
        self.events: list[str] = []
        self.error: Exception | None = None
        monkeypatch.setattr(cuda_graphs, "_Recording", self._record)
        state = init(learner("protonet", "support"), conv_network())
        state.network.execution = Execution("vmap", cuda_graphs=on)
        self.recorded = Recorded(state, self._function, recordable=recordable)

    def _function(self, state: MetaState, tensors: Sequence[Tensor], iteration: int) -> Tensor:
        self.events.append("launch")
        return tensors[0] + 1

    def _record(self, state: MetaState, function: Any, tensors: Sequence[Tensor], iteration: int) -> Any:
        self.events.append("record")
        if self.error is not None:
            raise self.error
        return self._replay

    def _replay(self, tensors: Sequence[Tensor]) -> Tensor:
        self.events.append("replay")
        return tensors[0] + 1

    def call(self, x: Tensor = X, phase: object = None) -> None:
        assert torch.equal(self.recorded([x], phase=phase), x + 1)


def test_the_second_call_is_recorded_and_replayed_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch)
    for _ in range(4):
        log.call()
    assert log.events == ["launch", "record", "replay", "replay", "replay"]


def test_another_phase_or_shape_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch)
    for phase in (0, 0, 1, 1):
        log.call(phase=phase)
    log.call(torch.arange(2.0), phase=1)
    log.call(phase=1)
    assert log.events == ["launch", "record", "replay"] * 2 + ["launch", "launch"]


@pytest.mark.parametrize("options", [{"recordable": False}, {"on": False}])
def test_what_must_not_be_recorded_is_launched(
    options: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(monkeypatch, **options)
    for _ in range(3):
        log.call()
    assert log.events == ["launch"] * 3


def test_what_cannot_be_recorded_is_launched_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(monkeypatch)
    log.error = RuntimeError("operation not permitted when stream is capturing\nmore")
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            log.call()
    assert log.events == ["launch", "record", *["launch"] * 3]
    (record,) = caplog.records
    assert "recording failed (operation not permitted when stream is capturing)" in record.getMessage()


def test_want_of_memory_is_left_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch)
    log.error = torch.OutOfMemoryError("CUDA out of memory")
    log.call()
    with pytest.raises(torch.OutOfMemoryError):
        log.call()


def test_only_cuda_records() -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 1))
    asked = Execution("auto", cuda_graphs=True)
    for device, recorded in (("cpu", False), ("meta", False), ("cuda", True)):
        assert asked.resolved(module, torch.device(device)).cuda_graphs is recorded
    assert not Execution("threads", cuda_graphs=True).resolved(module, torch.device("cuda")).cuda_graphs
    assert Execution("auto", cuda_graphs="auto").resolved(module, torch.device("cuda")).cuda_graphs == "auto"


def test_phases_tell_meta_iterations_apart_only_where_they_differ() -> None:
    annealed = learner("maml multi-step", "support")  # over ten iterations
    assert [annealed.phase(i) for i in (0, 1, 9)] == [0, 1, 9]
    assert annealed.phase(10) == annealed.phase(11)
    assert learner("maml", "support").phase(0) == learner("maml", "support").phase(7)


def test_a_training_that_nobody_holds_is_gone_at_once() -> None:
    """A graph has the memory of a meta-step: the next candidate must not wait for a garbage collection."""
    chosen = learner("fomaml", "support")
    state = init(chosen, conv_network())
    training = MetaTraining(chosen, state, training_sampler(chosen), OPTIMIZER, iterations=3, meta_batch=2)
    training.step()
    recorded = weakref.ref(training._meta_gradient)
    gc.disable()
    try:
        del training
        assert recorded() is None
    finally:
        gc.enable()


def training_of(name: str, optimizer: OuterOptimizer, recorded: Recording) -> MetaTraining:
    chosen = learner(name, "support")
    state = init(chosen, conv_network())
    state.network.execution = Execution("vmap", cuda_graphs=recorded)
    return MetaTraining(chosen, state, training_sampler(chosen), optimizer, iterations=8, meta_batch=2)


def trained(training: MetaTraining) -> list[Tensor]:
    while not training.done:
        training.step()
    return [torch.tensor(training.read().loss), *(p.detach() for p in training.state.parameters.values())]


@pytest.mark.parametrize("optimizer", [ADAM, SGD, RMSPROP], ids=["adam", "sgd", "rmsprop"])
def test_whole_steps_are_recorded_with_an_optimizer_of_one_kernel(optimizer: OuterOptimizer) -> None:
    """Rates change between replays. RMSProp has several kernels, so its steps are launched."""
    with simulated_graphs():
        training = training_of("fomaml", optimizer, recorded=True)
        found, launched = trained(training), trained(training_of("fomaml", optimizer, recorded=False))
    assert (training._meta_step is not None) == (optimizer is not RMSPROP)
    replayed = training._meta_step or training._meta_gradient
    assert replayed._recording is not None
    assert all(torch.equal(one, other) for one, other in zip(found, launched, strict=True))


def test_auto_records_no_step_of_the_optimizer() -> None:
    with simulated_graphs():
        training = training_of("fomaml", ADAM, recorded="auto")
        trained(training)
    assert training._meta_step is None
    assert training._meta_gradient._recording is not None


@pytest.mark.parametrize("scaled", [False, True], ids=["one rate", "two rates"])
@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_resumed_training_of_recorded_steps_has_the_same_bits(cut: int, scaled: bool) -> None:
    """Wherever it was cut, also where the other part is not recorded, as on another device."""

    def begun(recorded: Recording) -> MetaTraining:
        training = training_of("protonet", ADAM, recorded)
        if not scaled:
            return training
        state = training.state
        state.outer_scale = {"head.weight": 0.5, "body.0.weight": 2.0}
        return MetaTraining(training.learner, state, training.sampler, ADAM, iterations=8, meta_batch=2)

    with simulated_graphs():
        unbroken = trained(begun(False))
        for one, other in ((True, True), (True, False), (False, True)):
            first, second = begun(one), begun(other)
            for _ in range(cut):
                first.step()
            second.load_state_dict(first.state_dict())
            assert all(torch.equal(a, b) for a, b in zip(trained(second), unbroken, strict=True))


def test_a_training_that_is_rewound_forgets_what_it_recorded() -> None:
    """The optimizer's moments and rates are other tensors after load_state_dict."""
    with simulated_graphs():
        training = training_of("fomaml", ADAM, recorded=True)
        for _ in range(3):
            training.step()
        saved = copy.deepcopy(training.state_dict())
        once = [p.clone() for p in trained(training)]
        training.load_state_dict(saved)
        again = trained(training)
    assert all(torch.equal(one, other) for one, other in zip(once, again, strict=True))


@pytest.mark.parametrize("name", ["protonet", "fomaml", "reptile"])
def test_a_score_of_recorded_predictions_keeps_every_answer(name: str) -> None:
    """Each replay overwrites what the one before returned."""
    chosen, found = learner(name, "support"), []
    for recorded in (True, False):
        state = init(chosen, conv_network())
        state.network.execution = Execution("vmap", cuda_graphs=recorded)
        with simulated_graphs():
            found.append(score(chosen, state, BlobSampler("valid"), 4 * TASKS_AT_ONCE))
    one, other = found
    assert one.answers is not None
    assert other.answers is not None
    assert torch.equal(one.answers.logits, other.answers.logits)
    assert torch.equal(one.per_task, other.per_task)


def test_a_simulated_graph_does_nothing_while_it_is_captured_and_all_when_it_is_replayed() -> None:
    x, y = torch.arange(4.0), torch.zeros(4)
    with simulated_graphs():
        graph = cuda_graphs.Graph(x.device)
        with graph.capturing():
            z = y.add_(x)[1:].neg()
        assert torch.equal(y, torch.zeros(4))
        for times in (1, 2):
            graph.replay()
            assert torch.equal(y, times * x)
            assert torch.equal(z, -times * x[1:])
        with pytest.raises(RuntimeError, match="not permitted"), cuda_graphs.Graph(x.device).capturing():
            float(x.sum())


class Reads(ProtoNet):
    """A plug-in that looks at a value on the host at every meta-iteration, and does not say so."""

    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        gradients, metrics = super()._meta_gradient(state, batch, iteration)
        assert float(metrics["loss"]) >= 0.0
        return gradients, metrics


def test_a_step_that_reads_a_value_is_launched_with_the_same_bits(caplog: pytest.LogCaptureFixture) -> None:
    """What the failed recording had begun is undone; the contract for plug-ins refuses such a learner."""
    options = {"distance": "euclidean", "learn_temperature": False, "train_way": None}
    chosen = Reads(**options, batch_norm=BatchNormPolicy.SUPPORT)
    found = []
    for recorded in (True, False):
        state = init(chosen, conv_network())
        state.network.execution = Execution("vmap", cuda_graphs=recorded)
        with simulated_graphs():
            sampler = training_sampler(chosen)
            found.append(trained(MetaTraining(chosen, state, sampler, ADAM, iterations=5, meta_batch=2)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["cuda_graphs"]
    caplog.clear()
    with simulated_graphs(), pytest.raises(AssertionError) as failed:
        MetaLearnerContract().test_recorded_steps_and_predictions_are_launched_ones(chosen, ADAM, caplog)
    assert "recording failed" in str(failed.traceback[-1].statement)
