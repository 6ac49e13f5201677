"""Architectures that adapt in the inner loop: the gradients on a scalar, and what a test task gets."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError
from nasmeta.meta_learners.maml import Maml
from nasmeta.meta_learners.task_architecture import TaskArchitecture, architecture_names, plain_state
from nasmeta.networks import network
from nasmeta.networks.execution import Execution
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.run.composition import Composition
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.testing.recording import simulated_graphs
from nasmeta.training.cuda_graphs import recorded_predict
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.problem import Problem

TINY = [
    "strategy=meta_differentiable",
    "strategy.temperature_end=0.2",
    "search_space=nasbench201",
    "search_space.width=4",
    "search_space.stages=1",
    "dataset.train_classes=20",
    "dataset.valid_classes=10",
    "dataset.test_classes=10",
    "task.query=2",
    "task.meta_batch=2",
    "budget.trials=2",
    "device=cpu",
]


@cache
def problem(*overrides: str) -> Problem:
    return Composition.of(parse(composed([*TINY, *overrides]), trusted=False)).problem


def learner_of(one: Problem) -> TaskArchitecture:
    assert isinstance(one.learner, TaskArchitecture)
    return one.learner


class Scalars(nn.Module):
    """Outputs w and alpha themselves, [n, 2]: losses are quadratics of both."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Module()
        self.body.w = nn.Parameter(torch.tensor([0.7], dtype=torch.float64))
        self.body.alpha = nn.Parameter(torch.tensor([-1.3], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.body.w, self.body.alpha]).expand(len(x), 2)  # type: ignore[list-item]


def test_weights_and_architecture_have_inner_rates_of_their_own() -> None:
    """On the loss (w^2 + alpha^2) / 2, K steps at rates r and c r: MAML's gradient is (1 - rate)^(2K) p.

    That loss is the mean squared error of both outputs to zero.
    """
    maml = Maml(
        second_order=True,
        train_steps=3,
        test_steps=3,
        inner_lr=0.1,
        learn_inner_lr=False,
        multi_step_iterations=0,
        adapted_part="all",
        batch_norm=BatchNormPolicy.TRANSDUCTIVE,
    )
    state = maml.init(Scalars(), TaskSpec("regression", (1,), 2))
    state.inner_scale = {"body.alpha": 4.0}
    x, y = torch.zeros(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 2, dtype=torch.float64)
    gradients, _ = maml.meta_gradient(state, TaskBatch(x, y, x, y, torch.empty(1, 0)), 0)
    assert float(gradients["body.w"]) == pytest.approx((1 - 0.1) ** 6 * 0.7)
    assert float(gradients["body.alpha"]) == pytest.approx((1 - 0.4) ** 6 * -1.3)
    state.inner_scale = {"body.alpha": 0.0}
    gradients, _ = maml.meta_gradient(state, TaskBatch(x, y, x, y, torch.empty(1, 0)), 0)
    assert float(gradients["body.alpha"]) == pytest.approx(-1.3), (
        "held, it has the query loss's own derivative"
    )


@pytest.mark.parametrize("learner", ["maml", "reptile"])
def test_recorded_meta_steps_have_the_same_bits_and_predictions_are_launched(learner: str) -> None:
    """On a simulated graph; one recording holds the architecture during the warm-up, the next does not."""
    one, found = problem(f"meta_learner={learner}", "strategy.warmup=3"), []
    for recorded in (True, "auto", False):
        state = one.initial_state(ADAPTIVE)
        state.network.execution = Execution("vmap", cuda_graphs=recorded)
        with simulated_graphs():
            training = MetaTraining(one.learner, state, one.train, one.optimizer, iterations=7, meta_batch=2)
            while not training.done:
                training.step()
            kept = training._meta_step or training._meta_gradient
            assert (kept._recording is not None) == (recorded is True)
            predict, (*tasks, _, _) = recorded_predict(one.learner, state), one.valid.batch(0, 1)
            logits = [predict(tasks) for _ in range(3)]
        found.append([*(p.detach() for p in state.parameters.values()), *logits])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("learner", ["maml", "fomaml", "reptile", "meta_sgd"])
def test_both_are_meta_learned_and_every_task_gets_a_network_of_its_own(learner: str) -> None:
    """Ten meta-steps change alpha; an inner loop moves it, and the pruned network has the adapted weights."""
    one = problem(f"meta_learner={learner}", "strategy.inner_scale=30")
    state = one.initial_state(ADAPTIVE)
    before = {name: value.detach().clone() for name, value in state.parameters.items()}
    training = MetaTraining(one.learner, state, one.train, one.optimizer, iterations=3, meta_batch=2)
    while not training.done:
        training.step()
    names = architecture_names(state)
    assert names == ("body.alpha.cell",)
    assert not torch.equal(state.parameters[names[0]], before[names[0]])
    batch = one.train.batch(9, 1)
    task = batch.support_x[0], batch.support_y[0]
    adapted = learner_of(one).inner.adapted_parameters(state, *task)
    assert not torch.equal(adapted[names[0]], state.parameters[names[0]])
    arch, plain = learner_of(one).task_network(state, *task)
    module: Any = state.network.module
    assert arch == module.derive(adapted)
    for name, value in plain.parameters.items():
        assert torch.equal(value, adapted[module.shared_name(arch, name)]), name
    outputs = one.learner.predict(state, batch.support_x, batch.support_y, batch.query_x)
    assert outputs.shape == (1, 10, 5)
    assert outputs.isfinite().all()


def test_a_fully_annealed_mixture_answers_like_the_network_it_is_pruned_to() -> None:
    """Soft pruning: with a temperature near zero the cut changes nothing."""
    one = problem("meta_learner=fomaml", "strategy.inner_scale=1", "strategy.temperature_end=1e-6")
    state = one.initial_state(ADAPTIVE)
    names = architecture_names(state)
    with torch.no_grad():
        state.parameters[names[0]] += torch.arange(30.0).view(6, 5).sin()
    batch = one.train.batch(0, 1)
    task = batch.support_x[0], batch.support_y[0]
    learner = learner_of(one)
    adapted = {name: value.detach() for name, value in learner.inner.adapted_parameters(state, *task).items()}
    mixed = learner.query_outputs(state, adapted, task[0], batch.query_x[0], test=True)
    module: Any = state.network.module
    plain = plain_state(state, module.derive(adapted), adapted)
    pruned = learner.query_outputs(plain, plain.network_parameters, task[0], batch.query_x[0], test=True)
    torch.testing.assert_close(mixed, pruned, rtol=1e-4, atol=1e-4)


def test_the_pruned_network_is_trained_longer() -> None:
    fixed = ["meta_learner=fomaml", "meta_learner.learn_inner_lr=false"]
    short, long = problem(*fixed), problem(*fixed, "strategy.prune_steps=3")
    state = short.initial_state(ADAPTIVE)
    batch = short.train.batch(0, 1)
    task = batch.support_x[0], batch.support_y[0]
    (arch, one), (longer, other) = (learner_of(p).task_network(state, *task) for p in (short, long))
    assert arch == longer
    expected = learner_of(short).inner.with_test_steps(3).adapted_parameters(one, *task)
    assert all(torch.equal(other.parameters[n], v) for n, v in expected.items())


def test_the_architecture_waits_for_the_warm_up() -> None:
    """Weight decay does not move it before, either."""
    one = problem("meta_learner=reptile", "strategy.warmup=2", "optimizer=adam", "optimizer.weight_decay=0.1")
    state = one.initial_state(ADAPTIVE)
    (name,) = architecture_names(state)
    training = MetaTraining(one.learner, state, one.train, one.optimizer, iterations=9, meta_batch=2)
    for moves in (False, False, True):
        before = {n: value.detach().clone() for n, value in state.parameters.items()}
        training.step()
        moved = {n for n, value in state.parameters.items() if not torch.equal(value, before[n])}
        assert (name in moved) == moves
        assert moved - {name}


def test_the_outer_rate_of_the_architecture() -> None:
    """By Reptile's own step alpha moves by outer_scale times its pseudo-gradient."""
    settings = [
        "meta_learner=reptile",
        "optimizer=sgd",
        "optimizer.momentum=0",
        "optimizer.schedule=constant",
    ]
    one = problem(*settings, "optimizer.lr=1.0", "strategy.outer_scale=0.6")
    state = one.initial_state(ADAPTIVE)
    (name,) = architecture_names(state)
    before = {n: value.detach().clone() for n, value in state.parameters.items()}
    gradients, _ = one.learner.meta_gradient(state, one.train.batch(0, 2), 0)
    MetaTraining(one.learner, state, one.train, one.optimizer, iterations=9, meta_batch=2).step()
    for n, value in state.parameters.items():
        rate = 0.6 if n == name else 1.0
        torch.testing.assert_close(value.detach(), before[n] - rate * gradients[n])


def test_other_networks_are_left_to_the_learner() -> None:
    one = problem("meta_learner=fomaml")
    state = one.initial_state(one.space.reference())
    batch = one.train.batch(0, 2)
    ours = one.learner.predict(state, *batch[:3])
    theirs = learner_of(one).inner.predict(state, *batch[:3])
    assert torch.equal(ours, theirs)
    assert not state.inner_scale
    assert not state.outer_scale


@pytest.mark.parametrize("learner", ["maml", "fomaml", "reptile"])
def test_a_meta_step_never_waits_for_the_device(learner: str) -> None:
    """The meta device has no values: whatever asks for one raises."""
    one = replace(problem(f"meta_learner={learner}"), device=torch.device("meta"))
    state = one.initial_state(ADAPTIVE)
    batch = TaskBatch(*(part.to("meta") for part in problem(f"meta_learner={learner}").train.batch(0, 1)))
    gradients, metrics = one.learner.meta_gradient(state, batch, 0)
    assert gradients["body.alpha.cell"].is_meta
    assert metrics["loss"].is_meta


def test_every_thread_anneals_its_own_copy() -> None:
    one = problem("meta_learner=fomaml")
    state = one.initial_state(ADAPTIVE)
    results = []
    for parallel in ("loop", "threads", "vmap"):
        state.network.execution = replace(state.network.execution, task_parallel=parallel)
        gradients, _ = one.learner.meta_gradient(state, one.train.batch(0, 4), 0)
        results.append(gradients)
    for other in results[1:]:
        for name, value in results[0].items():
            torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-5)


def test_a_compiled_network_anneals_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """`evaluate compile=true` takes such a checkpoint; what is compiled is the module of all threads."""
    monkeypatch.setattr(network, "_compile", lambda: torch.func.functional_call)
    one = problem("meta_learner=fomaml", "meta_learner.train_steps=3", "strategy.temperature_end=0.01")
    state, batch = one.initial_state(ADAPTIVE), one.train.batch(0, 2)
    state.network.execution = replace(state.network.execution, task_parallel="loop")
    plain, _ = one.learner.meta_gradient(state, batch, 0)
    state.network.execution = replace(state.network.execution, compile=True)
    compiled, _ = one.learner.meta_gradient(state, batch, 0)
    for name, value in plain.items():
        torch.testing.assert_close(value, compiled[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "overrides,message",
    [
        (["meta_learner=protonet"], r"^meta_learner: .* this one has none that changes the network's body"),
        (["meta_learner=anil"], r"this one has none that changes"),
        (["batch_norm=running", "meta_learner=fomaml"], r"batch_norm: running averages one network"),
        (["search_space=conv", "meta_learner=fomaml"], r"search_space: it has no continuous relaxation"),
        (["compile=true", "task_parallel=loop", "meta_learner=fomaml"], r"compile: the relaxed network"),
        (["meta_learner=meta_sgd", "strategy.prune_steps=1"], r"strategy\.prune_steps: a pruned network"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(overrides: list[str], message: str) -> None:
    kept = [o for o in TINY if not (o.startswith("search_space") and "search_space=conv" in overrides)]
    with pytest.raises(ConfigError, match=message):
        Composition.of(parse(composed([*kept, *overrides]), trusted=False))
