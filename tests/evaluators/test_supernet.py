"""The training of shared weights, and the evaluator that owns them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError, Interrupted, RunFailed
from nasmeta.evaluators.supernet.evaluator import WEIGHTS_FILE, Supernet
from nasmeta.evaluators.supernet.sampling import PathSampling
from nasmeta.evaluators.supernet.training import SupernetTraining
from nasmeta.evaluators.supernet.weights import leading
from nasmeta.meta_learners.maml import Maml
from nasmeta.meta_learners.state import MetaState
from nasmeta.run.composition import Composition
from nasmeta.testing.evaluators import judged, timeless
from nasmeta.testing.meta_learners import TASK, BlobSampler
from nasmeta.training import checkpoint
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.problem import Problem
from nasmeta.trial import Criterion, Job, TrialResult
from tests.evaluators.test_supernet_weights import LEARNERS, SMALL, SPACES


def problem(space: str = "conv_small", learner: str = "protonet", device: str = "cpu", *more: str) -> Problem:
    """Blobs; three meta-iterations of the shared weights."""
    groups = [f"search_space={space}", f"meta_learner={learner}", "device=cpu"]
    overrides = [*groups, *SMALL.get(space, []), *more]
    whole = Composition.of(parse(composed(overrides), trusted=False))
    way = whole.learner.train_way or TASK.outputs
    return replace(
        whole.problem,
        task=TASK,
        device=torch.device(device),
        load_train=lambda _: BlobSampler("train", way=way, device=device),
        load_valid=lambda: BlobSampler("valid", device=device),
        valid_tasks=4,
        meta_batch=1,
        search_iterations=3,
        save_seconds=0.0,
    )


def trained(given: Problem, sampling: PathSampling = "uniform") -> SupernetTraining:
    """Before its first iteration."""
    return SupernetTraining(given, given.optimizer, sampling, 3)


@pytest.mark.parametrize(
    "space,learner", [*((s, "fomaml") for s in SPACES), *(("conv_small", x) for x in LEARNERS)]
)
def test_a_step_never_waits_for_the_device(space: str, learner: str) -> None:
    """The meta device has no values: whatever asks for one raises."""
    training = trained(problem(space, learner, "meta"))
    training.step()
    assert all(p.is_meta for p in training.weights.parameters.values())


@pytest.mark.parametrize("space", SPACES)
def test_a_step_changes_the_sampled_parts_and_nothing_else(space: str) -> None:
    training = trained(problem(space))
    training.path = arch = training.problem.space.reference()
    before = {name: p.detach().clone() for name, p in training.weights.parameters.items()}
    network = training.weights.subnetwork(arch)
    parts = {shared: leading(network.state.parameters[n]) for n, shared in network.shared_names.items()}
    training.step()
    changed = set()
    for name, value in training.weights.parameters.items():
        moved = value.detach() != before[name]
        if moved.any():
            changed.add(name)
            moved[parts[name]] = False
            assert not moved.any(), f"{name} moved outside of what was trained"
    assert changed <= set(parts)
    assert len(changed) > len(parts) / 2


@pytest.mark.parametrize("sampling", ["uniform", "fair"])
def test_a_restored_training_goes_on_as_if_it_had_never_stopped(sampling: PathSampling) -> None:
    whole, first, second = (trained(problem(), sampling) for _ in range(3))
    for _ in range(3):
        whole.step()
    first.step()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.step()
    for name, value in whole.weights.parameters.items():
        assert torch.equal(value, second.weights.parameters[name]), name


def test_every_gradient_gets_the_typical_norm() -> None:
    """The geometric mean of those so far; directions stay, and a gradient of zero changes nothing."""
    training = trained(problem())
    norms = [2.0, 32.0, 1.0]
    assert training._balanced({"a": torch.zeros(1)})["a"].item() == 0.0
    for number, norm in enumerate(norms, 1):
        balanced = training._balanced({"a": torch.tensor([0.6]) * norm, "b": torch.tensor([0.0, 0.8]) * norm})
        expected = math.prod(norms[:number]) ** (1 / number)
        assert balanced["a"].item() == pytest.approx(0.6 * expected)
        assert balanced["b"].tolist() == pytest.approx([0.0, 0.8 * expected])
        assert training._balanced({"a": torch.zeros(1)})["a"].item() == 0.0


def test_a_fair_step_is_the_mean_over_its_users() -> None:
    """What all its sub-networks share has the mean of their gradients."""
    training = trained(problem("nasbench201"), "fair")
    training._balanced = lambda gradients: gradients  # type: ignore[method-assign]
    cells = training._sampled()
    training._sampled = lambda: cells  # type: ignore[method-assign]
    batch = training.sampler.batch(0, 1)
    gradients, _ = training.gradients(batch)
    each = []
    for cell in cells:
        state = training.weights.subnetwork(cell).state
        each.append(training.learner.meta_gradient(state, batch, 0)[0]["body.stem.0.weight"])
    assert torch.allclose(gradients["body.stem.0.weight"], torch.stack(each).mean(0), atol=1e-6)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A MAML whose method `name` has memory for one task at once."""
    method = getattr(Maml, name)

    def fails(self: Maml, state: MetaState, *rest: Any) -> Any:
        if state.network.execution.task_chunk != 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return method(self, state, *rest)

    monkeypatch.setattr(Maml, name, fails)


def test_a_step_that_does_not_fit_in_memory_is_done_in_smaller_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(problem("conv_small", "fomaml", "cpu", "task_parallel=vmap"), meta_batch=4)
    plenty, little = trained(given), trained(given)
    plenty.step()
    short_of_memory(monkeypatch, "meta_gradient")
    little.step()
    for name, value in plenty.weights.parameters.items():
        assert torch.allclose(value, little.weights.parameters[name], atol=1e-5), name
    assert little.problem.execution.task_chunk == 1, "what has failed once is not tried at every step"


def test_a_candidate_that_does_not_fit_in_memory_is_judged_in_smaller_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = replace(problem("conv_small", "fomaml", "cpu", "task_parallel=vmap"), meta_batch=4)
    arch = archs(given, 1)[0]
    evaluator = supernet(given)
    plenty = judged(evaluator, arch, 3, tmp_path / "plenty.pt")
    short_of_memory(monkeypatch, "predict")
    little = judged(evaluator, arch, 3, tmp_path / "little.pt")
    assert (little.status, little.score) == ("ok", plenty.score)


def supernet(
    given: Problem, per_trial: int = 0, finetune: int = 0, criterion: Criterion = "accuracy"
) -> Supernet:
    return Supernet(
        sampling="uniform",
        iterations_per_trial=per_trial,
        finetune_iterations=finetune,
        criterion=criterion,
        max_seconds=None,
        problem=given,
    )


def archs(given: Problem, count: int) -> list[str]:
    space = given.space
    return [str(arch) for arch, _ in zip(space.neighbors(space.initial()), range(count), strict=False)]


def as_trial(evaluator: Supernet, arch: str, trial: int, folder: Path) -> TrialResult:
    job = Job(phase="search", trial=trial, arch=arch, iterations=3, weights=folder / f"{trial}.pt")
    return evaluator.evaluate(job, lambda _: None, lambda: False)


def test_results_record_the_version_of_the_weights(tmp_path: Path) -> None:
    given = problem()
    evaluator = supernet(given, per_trial=2)
    versions = [
        as_trial(evaluator, arch, trial, tmp_path).weights_version
        for trial, arch in enumerate(archs(given, 3))
    ]
    assert versions == [3, 5, 7]


def test_candidates_do_not_change_the_weights(tmp_path: Path) -> None:
    given = problem()
    evaluator = supernet(given)
    first, second = archs(given, 2)
    alone = timeless(judged(evaluator, first, 3, tmp_path / "a.pt"))
    saved = checkpoint.load(tmp_path / WEIGHTS_FILE)["training"]["parameters"]
    judged(evaluator, second, 3, tmp_path / "b.pt")
    assert timeless(judged(evaluator, first, 3, tmp_path / "c.pt")) == alone
    for name, value in checkpoint.load(tmp_path / WEIGHTS_FILE)["training"]["parameters"].items():
        assert torch.equal(value, saved[name])


@pytest.mark.parametrize("space", ["conv_small", "mlp"])
@pytest.mark.parametrize("learner", ["protonet", "fomaml", "reptile"])
def test_a_finetuned_candidate_is_trained_from_what_it_inherits(
    space: str, learner: str, tmp_path: Path
) -> None:
    """As by hand: so many outer steps on a copy, from the first tasks on; the shared weights do not move."""
    given = problem(space, learner)
    first, second = archs(given, 2)
    evaluator = supernet(given, finetune=3)
    result = judged(evaluator, first, 3, tmp_path / "w.pt")
    shared = checkpoint.load(tmp_path / WEIGHTS_FILE)["training"]["parameters"]

    by_hand = trained(given)
    for _ in range(3):
        by_hand.step()
    state = by_hand.weights.subnetwork(given.space.parse(first)).state
    inherited = {name: value.detach().clone() for name, value in state.parameters.items()}
    tuning = MetaTraining(
        given.learner, state, given.train, given.optimizer, iterations=3, meta_batch=given.meta_batch
    )
    for _ in range(3):
        tuning.step()
    left = checkpoint.load(tmp_path / "w.pt")["training"]["parameters"]
    assert all(torch.equal(left[name], value) for name, value in state.parameters.items())
    assert any(not torch.equal(left[name], value) for name, value in inherited.items())
    assert result.score == given.judge(state, lambda: False).value
    assert result.weights_version == 3

    judged(evaluator, second, 3, tmp_path / "v.pt")
    for name, value in checkpoint.load(tmp_path / WEIGHTS_FILE)["training"]["parameters"].items():
        assert torch.equal(value, shared[name])


def test_an_interrupted_finetuning_is_resumed(tmp_path: Path) -> None:
    given = problem()
    evaluator, arch = supernet(given, finetune=5), archs(given, 1)[0]
    whole = judged(evaluator, arch, 3, tmp_path / "whole.pt")
    calls = iter(range(10**9))
    with pytest.raises(Interrupted, match="at iteration 2 of 5"):
        judged(evaluator, arch, 3, tmp_path / "w.pt", lambda: next(calls) >= 1)
    assert timeless(judged(evaluator, arch, 3, tmp_path / "w.pt")) == timeless(whole)
    left, expected = (checkpoint.load(tmp_path / name)["training"] for name in ("w.pt", "whole.pt"))
    for name, value in expected["parameters"].items():
        assert torch.equal(left["parameters"][name], value)


def value(known: float | None) -> float:
    assert known is not None
    return known


def test_candidates_are_compared_by_the_criterion(tmp_path: Path) -> None:
    given = problem()
    arch = archs(given, 1)[0]
    results = {
        criterion: judged(supernet(given, finetune=2, criterion=criterion), arch, 3, tmp_path / criterion)
        for criterion in get_args(Criterion)
    }
    accuracy, loss, speed = results["accuracy"], results["loss"], results["training_speed"]
    assert accuracy.score == accuracy.valid_accuracy == loss.valid_accuracy
    assert loss.score == -value(loss.valid_loss)
    assert speed.score == -value(speed.train_loss)


def test_without_training_of_their_own_candidates_have_no_training_speed() -> None:
    with pytest.raises(ConfigError, match=r"criterion.*training_speed.*finetune_iterations=0"):
        supernet(problem(), criterion="training_speed")


def test_running_statistics_are_the_candidates_own(tmp_path: Path) -> None:
    """Recomputed from training tasks for each candidate, and left beside its weights."""
    given = problem("conv_small", "protonet", "cpu", "batch_norm=running")
    evaluator = supernet(given)
    statistics: list[dict[str, Any]] = []
    for number, arch in enumerate(archs(given, 2)):
        judged(evaluator, arch, 3, tmp_path / f"{number}.pt")
        statistics.append(checkpoint.load(tmp_path / f"{number}.pt")["statistics"])
    assert all(statistics)
    assert all(value.isfinite().all() for some in statistics for value in some.values())
    assert statistics[0].keys() != statistics[1].keys() or any(
        value.shape != statistics[1][name].shape or not torch.equal(value, statistics[1][name])
        for name, value in statistics[0].items()
    )


def test_another_budget_is_refused(tmp_path: Path) -> None:
    given = problem()
    with pytest.raises(ConfigError, match=r"evaluator: trial 7 .* 2 iterations.*search_iterations=3"):
        judged(supernet(given), archs(given, 1)[0], 2, tmp_path / "w.pt")


@pytest.mark.parametrize("per_trial", [0, 2])
def test_a_network_that_cannot_be_trained_is_said(
    per_trial: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampled, it ends the run; as a candidate to train further on, it is a failed trial."""
    given = problem("conv_small")
    judge = supernet(given, per_trial)

    def refuse(*_: Any) -> None:
        raise ValueError("Expected more than 1 value per channel")

    def evaluate(trial: int) -> TrialResult:
        arch = str(given.space.reference())
        return as_trial(judge, arch, trial, tmp_path)

    if per_trial:
        assert evaluate(0).status == "ok"
    monkeypatch.setattr(SupernetTraining, "gradients", refuse)
    if not per_trial:
        with pytest.raises(RunFailed, match=r"the supernet: .*ValueError: Expected more"):
            evaluate(0)
        return
    result = evaluate(1)
    assert result.status == "failed"
    assert result.reason == "ValueError: Expected more than 1 value per channel"


def test_a_diverged_supernet_ends_the_run(tmp_path: Path) -> None:
    given = problem("conv_small", "protonet", "cpu", "optimizer=sgd", "optimizer.lr=1e38")
    with pytest.raises(RunFailed, match=r"the supernet: the meta-training loss is .*optimizer\.lr"):
        judged(supernet(given), archs(given, 1)[0], 3, tmp_path / "w.pt")
