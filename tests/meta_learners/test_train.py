"""The outer loop: resuming, reading, divergence."""

import io
from typing import Any

import pytest
import torch

from nasmeta.errors import Diverged
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.task import TaskBatch
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init, training_sampler
from nasmeta.training import meta_training
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.optimizers import OuterOptimizer, sgd
from tests.meta_learners.options import OPTIMIZERS, VARIANTS, configured, learner, short

ITERATIONS = 3


def start(
    chosen: MetaLearner,
    optimizer: OuterOptimizer,
    sampler: BlobSampler | None = None,
    name: str = "network",
    iterations: int = ITERATIONS,
    horizon: int | None = None,
) -> MetaTraining:
    return MetaTraining(
        chosen,
        init(chosen, conv_network(width=4, name=name)),
        sampler or training_sampler(chosen),
        optimizer,
        iterations=iterations,
        meta_batch=2,
        horizon=horizon,
    )


def configured_optimizer(name: str) -> OuterOptimizer:
    make, options = configured("optimizer", name)
    return make(**{**options, "warmup": 0.3})


def through_a_file(saved: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def outcome(training: MetaTraining) -> dict[str, torch.Tensor]:
    """All that a training has to show for itself once it is over."""
    while not training.done:
        training.step()
    progress = training.read()
    training.finish()
    values = {"loss": progress.loss, "accuracy": progress.accuracy, "late": training.late_loss()}
    numbers = {name: torch.tensor(value) for name, value in values.items()}
    return {**training.state.parameters, **training.state.statistics, **numbers}


def assert_resumes(chosen: MetaLearner, optimizer: OuterOptimizer) -> None:
    """Killed after each number of iterations in turn and continued by a fresh process's objects."""
    unbroken = start(chosen, optimizer)
    saved = [through_a_file(unbroken.state_dict())]
    while not unbroken.done:
        unbroken.step()
        saved.append(through_a_file(unbroken.state_dict()))
    expected = outcome(unbroken)
    for iteration, checkpoint in enumerate(saved):
        resumed = start(chosen, optimizer, name="other weights")
        resumed.load_state_dict(checkpoint)
        assert resumed.iteration == iteration
        got = outcome(resumed)
        assert set(got) == set(expected)
        for name, value in expected.items():
            assert torch.equal(got[name], value), (iteration, name)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_learner_resumes_bit_for_bit(name: str) -> None:
    assert_resumes(short(name, "running"), configured_optimizer("adam"))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_resumes_bit_for_bit(name: str) -> None:
    assert_resumes(learner("protonet", "support"), configured_optimizer(name))


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("policy", ["support", "running"])
def test_a_short_training_is_the_beginning_of_a_long_one(schedule: str, policy: str) -> None:
    """Finished after 1 iteration and continued to 3, whatever the schedule: it spans the horizon."""
    make, options = configured("optimizer", "adam")
    optimizer = make(**{**options, "schedule": schedule, "warmup": 0.3})
    chosen = short("protonet", policy)
    whole = start(chosen, optimizer, horizon=5)
    part = start(chosen, optimizer, iterations=1, horizon=5)
    expected, shorter = outcome(whole), outcome(part)
    assert not torch.equal(shorter["body.0.weight"], expected["body.0.weight"])
    saved = through_a_file(part.state_dict())
    continued = start(chosen, optimizer, name="other weights", horizon=5)
    continued.load_state_dict(saved)
    got = outcome(continued)
    for name, value in expected.items():
        if name not in ("loss", "accuracy"):  # means since the last reading
            assert torch.equal(got[name], value), name


def test_another_networks_state_is_refused(optimizer: OuterOptimizer) -> None:
    protonet = learner("protonet", "support")
    saved = start(protonet, optimizer).state_dict()
    wider = MetaTraining(
        protonet,
        init(protonet, conv_network(width=5)),
        training_sampler(protonet),
        optimizer,
        iterations=ITERATIONS,
        meta_batch=2,
    )
    with pytest.raises(RuntimeError, match="must match the size"):
        wider.load_state_dict(saved)
    learned = start(learner("protonet cosine", "support"), optimizer)
    with pytest.raises(KeyError, match=r"meta\.log_temperature"):
        learned.load_state_dict(saved)


def test_the_step_is_the_rate_of_the_schedule_times_the_gradient() -> None:
    protonet = learner("protonet", "support")
    optimizer = sgd(lr=0.5, momentum=0.0, nesterov=False, weight_decay=0.0, schedule="linear", warmup=0.0)
    training = start(protonet, optimizer)
    for iteration, rate in enumerate([0.5, 1 / 3, 1 / 6]):
        batch = training_sampler(protonet).batch(iteration, 2)
        gradients, _ = protonet.meta_gradient(training.state, batch, iteration)
        before = {name: p.detach().clone() for name, p in training.state.parameters.items()}
        training.step()
        for name, parameter in training.state.parameters.items():
            torch.testing.assert_close(parameter.detach(), before[name] - rate * gradients[name])
    assert training.done


class Broken(BlobSampler):
    """Its images are NaN from iteration 2 on."""

    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        batch = super().batch(iteration, tasks)
        return batch._replace(query_x=batch.query_x * float("nan")) if iteration >= 2 else batch


@pytest.mark.parametrize("name", ["maml", "reptile", "protonet", "finetune"])
def test_divergence_is_noticed(name: str, optimizer: OuterOptimizer) -> None:
    chosen = learner(name, "support", **({"inner_batch": 1000} if name == "reptile" else {}))
    training = start(chosen, optimizer, Broken("train"))
    training.step()
    training.step()
    assert training.read().iteration == 2
    training.step()
    with pytest.raises(Diverged, match=r"^the meta-training loss is nan at iteration 3$"):
        training.read()


def test_a_reading_is_the_mean_since_the_last(optimizer: OuterOptimizer) -> None:
    protonet = learner("protonet", "support")
    one_by_one, at_once = start(protonet, optimizer), start(protonet, optimizer)
    losses, accuracies = [], []
    for _ in range(3):
        one_by_one.step()
        progress = one_by_one.read()
        losses.append(progress.loss)
        accuracies.append(progress.accuracy)
        at_once.step()
    progress = at_once.read()
    assert progress.iteration == 3
    assert progress.loss == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert progress.accuracy == pytest.approx(sum(accuracies) / 3, rel=1e-5)


def test_training_speed_is_the_mean_loss_of_the_last_quarter(
    optimizer: OuterOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meta_training, "BLOCK", 3)  # more than one block of memory
    training, losses = start(learner("protonet", "support"), optimizer, iterations=8), []
    for _ in range(8):
        training.step()
        losses.append(training.read().loss)
    assert training.late_loss() == pytest.approx(sum(losses[6:]) / 2, rel=1e-6)
    training.iterations = 10
    for _ in range(2):
        training.step()
        losses.append(training.read().loss)
    assert training.late_loss() == pytest.approx(sum(losses[7:]) / 3, rel=1e-6)


def test_population_comes_from_tasks_that_training_has_not_seen(optimizer: OuterOptimizer) -> None:
    asked = []

    class Spy(BlobSampler):
        def batch(self, iteration: int, tasks: int) -> TaskBatch:
            asked.append(iteration)
            return super().batch(iteration, tasks)

    training = start(learner("protonet", "running"), optimizer, Spy("train"))
    while not training.done:
        training.step()
    training.finish()
    assert asked == list(range(ITERATIONS + 8))
