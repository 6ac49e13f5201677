"""One ask is one epoch: proposals, their replay from what was saved, guards, every kind of network."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError, Interrupted, RunFailed
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.gradients import Gradients
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.execution import Execution
from nasmeta.run.composition import Composition
from nasmeta.seeding import stream
from nasmeta.strategies.differentiable import Differentiable, guard
from nasmeta.strategies.differentiable.training import BilevelTraining
from nasmeta.strategies.progress_file import ProgressFile
from nasmeta.testing.recording import simulated_graphs
from nasmeta.testing.strategies import told
from nasmeta.trial import Proposal

TINY = [
    "strategy=differentiable",
    "strategy.epoch_iterations=2",
    "strategy.architecture_lr=0.5",
    "search_space=nasbench201",
    "search_space.width=4",
    "search_space.stages=1",
    "dataset.train_classes=20",
    "dataset.valid_classes=10",
    "dataset.test_classes=10",
    "dataset.size=14",
    "task.way=3",
    "task.query=2",
    "task.meta_batch=2",
    "budget.trials=3",
    "device=cpu",
]
DARTS = [
    "search_space=darts",
    "search_space.width=4",
    "search_space.nodes=2",
    "search_space.layers=2",
    "search_space.reductions=[0,1]",
]


@cache
def composition(*overrides: str) -> Composition:
    kept = [o for o in TINY if not (o.startswith("search_space") and "search_space=darts" in overrides)]
    return Composition.of(parse(composed([*kept, *overrides]), trusted=False))


def made(
    *overrides: str, path: Path | None = None, feasible: Any = lambda arch: True, stop: Any = lambda: False
) -> Differentiable:
    whole = composition(*overrides)
    strategy = whole.strategy(feasible, ProgressFile(path, seconds=1e9, stop=stop))
    assert isinstance(strategy, Differentiable)
    return strategy


def play(strategy: Differentiable) -> list[Proposal]:
    proposals = []
    while (proposal := strategy.ask()) is not None:
        proposals.append(proposal)
        strategy.tell(told(proposal, 0.5))
    assert strategy.done()
    return proposals


def test_an_ask_is_an_epoch_and_the_last_is_chosen() -> None:
    strategy = made()
    proposals = play(strategy)
    assert [p.trial for p in proposals] == [0, 1, 2]
    assert strategy._running().iteration == 6
    assert strategy.chosen() == [proposals[-1].arch]
    assert proposals == play(made())
    assert proposals != play(made("seed=1"))


@pytest.mark.parametrize("asked", [0, 1, 3])
def test_what_was_saved_answers_without_training(
    asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many asks as were saved are replayed; the others train on from there, bit by bit the same."""
    whole = play(made())
    first = made(path=tmp_path / "s.pt")
    for _ in range(asked):
        first.ask()
    steps = iter(range(1000))
    step = BilevelTraining.step

    def counted(self: BilevelTraining) -> None:
        next(steps)
        step(self)

    monkeypatch.setattr(BilevelTraining, "step", counted)
    again = made(path=tmp_path / "s.pt")
    assert play(again) == whole
    assert next(steps) == 2 * (3 - asked)
    unbroken = made()
    play(unbroken)
    if asked < 3:
        ours, theirs = again._running().state.parameters, unbroken._running().state.parameters
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_stopped_in_the_middle_of_an_epoch_it_goes_on(tmp_path: Path) -> None:
    calls = iter(range(1000))
    strategy = made(path=tmp_path / "s.pt", stop=lambda: next(calls) == 2)
    assert strategy.ask() is not None
    with pytest.raises(Interrupted, match="stopped at iteration 3"):
        strategy.ask()
    assert play(made(path=tmp_path / "s.pt")) == play(made())


KINDS = {
    "second order": ["strategy.second_order=true"],
    "gumbel": ["strategy.edges=gumbel", "strategy.temperature_start=10"],
    "gumbel maml": ["strategy.edges=gumbel", "meta_learner=maml"],
    "partial channels": ["strategy.partial_channels=2", "strategy.inputs=edges"],
    "rmsprop": ["strategy.architecture_optimizer=rmsprop", "strategy.guard=eigenvalue"],
    "maml": ["meta_learner=maml", "strategy.second_order=true"],
    "fomaml loop": ["meta_learner=fomaml", "task_parallel=loop"],
    "maml vmap": ["meta_learner=maml", "task_parallel=vmap"],
    "reptile": ["meta_learner=reptile"],
    "ridge": ["meta_learner=ridge"],
    "finetune": ["meta_learner=finetune"],
    "darts pairs": [*DARTS, "strategy.inputs=pairs"],
    "darts gumbel": [*DARTS, "strategy.edges=gumbel", "optimizer=sgd"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_architecture_learn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By every learner; what the inner loop holds is moved by the architecture's optimizer alone."""
    monkeypatch.setattr(guard, "POWER_STEPS", 2)
    strategy = made(*KINDS[kind])
    training = strategy._running()
    before = {name: value.detach().clone() for name, value in training.state.parameters.items()}
    proposal = strategy.ask()
    assert proposal is not None
    assert strategy.space.parse(str(proposal.arch)) == proposal.arch
    after = training.state.parameters
    assert all(not torch.equal(after[name], before[name]) for name in training.names), kind
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(after[name], before[name]) for name in after if name not in training.names)


def test_the_architecture_is_held_in_the_inner_loop() -> None:
    strategy = made("meta_learner=maml")
    training = strategy._running()
    batch = training.batch(0)
    adapted = training.problem.learner.adapted_parameters(
        training.state, batch.support_x[0], batch.support_y[0]
    )
    for name in training.names:
        assert torch.equal(adapted[name], training.state.parameters[name])
    assert not torch.equal(adapted["head.weight"], training.state.parameters["head.weight"])


@pytest.mark.parametrize("learner", ["protonet", "fomaml", "reptile"])
def test_a_step_never_waits_for_the_device(learner: str) -> None:
    """The meta device has no values: whatever asks for one raises."""
    strategy = made(f"meta_learner={learner}")
    problem = strategy.problem
    moved = replace(problem, device=torch.device("meta"), execution=replace(problem.execution, task_chunk=1))
    real = problem.train.batch

    class OnMeta:
        def batch(self, iteration: int, tasks: int) -> Any:
            batch = real(iteration, 1)
            return type(batch)(*(part.to("meta") for part in batch))

    vars(moved)["train"] = OnMeta()
    training = BilevelTraining(
        moved, strategy.relaxation, strategy.sampling, strategy.optimizer, unrolled=False, iterations=4
    )
    training.step()
    assert training.alpha["body.alpha.cell"].is_meta


def test_the_guard_of_skips_stops_and_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    space = composition().space
    good = space.reference()
    bad = space.parse(
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
    )
    derived = iter([good, bad, good])
    monkeypatch.setattr(BilevelTraining, "derive", lambda self: next(derived))
    strategy = made("strategy.guard=skips")
    assert [p.arch for p in play(strategy)] == [good]
    assert strategy.chosen() == [good]
    unguarded = made()
    derived = iter([good, bad, bad])
    assert [p.arch for p in play(unguarded)] == [good, bad, bad]
    assert unguarded.chosen() == [bad]


def test_the_guard_of_the_eigenvalue_goes_back_five_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after an interruption."""
    space = composition().space
    archs = list(space.neighbors(space.reference()))[:12]
    derived, values = iter(archs), iter([1.0] * 8 + [9.0] * 4)
    monkeypatch.setattr(BilevelTraining, "derive", lambda self: next(derived))
    monkeypatch.setattr(BilevelTraining, "curvature", lambda self, rng: next(values))
    options = ["strategy.guard=eigenvalue", "budget.trials=12", "strategy.epoch_iterations=1"]
    interrupted = made(*options, path=tmp_path / "s.pt")
    for _ in range(6):
        interrupted.ask()
    strategy = made(*options, path=tmp_path / "s.pt")
    assert [p.arch for p in play(strategy)] == archs[:8]
    assert strategy.chosen() == [archs[3]]


def test_architectures_beyond_the_constraints_are_not_proposed() -> None:
    all_of_them = [p.arch for p in play(made())]
    unwanted = all_of_them[0]
    strategy = made(feasible=lambda arch: arch != unwanted)
    assert [p.arch for p in play(strategy)] == [arch for arch in all_of_them if arch != unwanted]
    with pytest.raises(RunFailed, match=r"none of the 3 architectures.*constraints\.max_params"):
        made(feasible=lambda arch: False).ask()


@pytest.mark.parametrize(
    "overrides,message",
    [
        (["search_space=conv"], r"search_space: it has no continuous relaxation.*darts"),
        (["strategy.inputs=pairs"], r"strategy\.inputs: pairs"),
        (["strategy.partial_channels=3"], r"strategy\.partial_channels: 3 does not divide the 4"),
        (["strategy.partial_channels=4"], r"strategy\.partial_channels: 4 does not divide the 4"),
        (["strategy.guard=eigenvalue", "strategy.edges=gumbel"], r"strategy\.guard: eigenvalue"),
        (["meta_learner=reptile", "strategy.second_order=true"], r"strategy\.second_order: reptile descends"),
        (["compile=true", "task_parallel=loop"], r"compile: the relaxed network"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(overrides: list[str], message: str) -> None:
    kept = [o for o in TINY if not (o.startswith("search_space") and "search_space=conv" in overrides)]
    with pytest.raises(ConfigError, match=message):
        Composition.of(parse(composed([*kept, *overrides]), trusted=False))


@pytest.mark.parametrize("short_of", ["frozen_parameter_gradient", "meta_gradient"])
def test_a_network_too_large_for_the_memory_sees_fewer_tasks_at_once(
    short_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same search with half of the tasks at once; the failed attempts leave no trace."""
    maml = ("meta_learner=maml", "meta_learner.train_steps=1")
    setting = ("task_parallel=vmap", "task.meta_batch=4", "budget.trials=1", *maml)
    whole = made(*setting, "task_chunk=2")
    expected, chunks = play(whole), []
    learner = type(whole.problem.learner)
    original = getattr(learner, short_of)

    def limited(self: Any, state: Any, *rest: Any) -> Any:
        chunk = state.network.execution.task_chunk
        chunks.append(chunk)
        if chunk is None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, state, *rest)

    monkeypatch.setattr(learner, short_of, limited)
    strategy = made(*setting)
    assert play(strategy) == expected
    assert chunks[:2] == [None, 2]
    assert set(chunks[1:]) == {2}
    for name, value in strategy._running().alpha.items():
        torch.testing.assert_close(value, whole._running().alpha[name])


def test_one_task_that_does_not_fit_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried")

    strategy = made()
    monkeypatch.setattr(type(strategy.problem.learner), "frozen_parameter_gradient", never)
    with pytest.raises(RunFailed, match="not even one task fits in memory"):
        strategy.ask()


RECORDABLE = {
    "first order": [],
    "second order": ["strategy.second_order=true"],
    "partial channels": ["strategy.partial_channels=2", "strategy.inputs=edges", *DARTS],
    "maml": ["meta_learner=maml"],
    "scheduled": ["optimizer.schedule=linear", "strategy.architecture_optimizer=rmsprop"],
}
DIFFERENT = {
    "sampled edges": ["strategy.edges=gumbel"],
    "another temperature": ["strategy.temperature_end=0.1"],
}


@pytest.mark.parametrize("name", [*RECORDABLE, *DIFFERENT])
def test_recorded_steps_of_relaxed_networks_have_the_same_bits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a simulated graph. What differs from step to step is launched."""
    overrides = {**RECORDABLE, **DIFFERENT}[name]
    found = []
    for recorded in (True, "auto", False):
        execution = Execution("vmap", cuda_graphs=recorded)
        monkeypatch.setattr(Execution, "resolved", lambda *_, it=execution: it)
        with simulated_graphs():
            training = made(*overrides)._running()
            for _ in range(5):
                training.step()
        kept = (training._architecture_gradient, training._weight_gradient)
        replayed = recorded is True and name in RECORDABLE
        assert [each._recording is not None for each in kept] == [replayed, replayed]
        found.append([training._loss, *(p.detach() for p in training.state.parameters.values())])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("meta_batch,batches", [(1, 8), (3, 3), (8, 1), (20, 1)])
def test_the_curvature_is_of_eight_tasks_at_least(
    meta_batch: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = made(f"task.meta_batch={meta_batch}")._running()
    numbers: list[int] = []

    def batch(self: BilevelTraining, number: int) -> Any:
        numbers.append(number)
        return None

    monkeypatch.setattr(BilevelTraining, "batch", batch)

    def parameters(self: MetaLearner, state: MetaState, *_: Any) -> Gradients:
        return {name: value.detach() for name, value in state.parameters.items()}, {}

    monkeypatch.setattr(type(training.problem.learner), "frozen_parameter_gradient", parameters)
    training.curvature(stream(0, "power"))
    assert numbers == [2 * i + 1 for i in range(batches)], "those that alpha is trained on: odd ones"
