"""The iterate that a full training leaves: the best on validation tasks, whatever interrupts it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError
from nasmeta.evaluators.scratch import Scratch
from nasmeta.run.composition import Composition
from nasmeta.testing import evaluators as contract
from nasmeta.training import checkpoint
from nasmeta.training.best_iterate import KeepBest
from nasmeta.training.meta_training import Reading
from nasmeta.training.problem import Problem
from nasmeta.training.score import TASKS_AT_ONCE, Score, score
from nasmeta.trial import Criterion, Job

ARCH = "conv3-8.bn.relu.max_conv3-8.bn.relu.max_gap"
SMALL = [
    *("dataset.train_classes=12", "dataset.valid_classes=8", "dataset.test_classes=8", "dataset.size=14"),
    *(
        "task.query=2",
        "task.meta_batch=2",
        "budget.valid_tasks=25",
        "budget.final_tasks=25",
        "budget.search_iterations=3",
    ),
    *("save_seconds=0", "batch_norm=running", "optimizer.lr=0.05", "augment=handwriting"),
]
ITERATIONS, EVERY = 7, 2


def composition(*overrides: str) -> Composition:
    return Composition.of(parse(composed([*SMALL, *overrides]), trusted=True))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return composition().problem


def evaluator(problem: Problem, every: int = EVERY, patience: int | None = None) -> Scratch:
    return Scratch(max_seconds=None, criterion="accuracy", problem=problem, keep=KeepBest(every, patience))


@pytest.mark.parametrize(
    "check", [contract.check_result, contract.check_idempotent, contract.check_stop, contract.check_weights]
)
@pytest.mark.parametrize("patience", [None, 1])
def test_it_keeps_the_contract(check, patience: int | None, problem: Problem, tmp_path: Path) -> None:
    check(lambda: evaluator(problem, patience=patience), ARCH, ITERATIONS, tmp_path)


def test_the_best_iterate_is_that_of_a_training_without_judgements(problem: Problem, tmp_path: Path) -> None:
    training, judged = problem.training(problem.space.parse(ARCH), ITERATIONS), {}
    while not training.done:
        training.step()
        if training.iteration in (2, 4, 6, 7):
            training.finish()
            found = problem.judge_iterate(training.state, lambda: False)
            state = training.state
            tensors = {n: p.detach().clone() for n, p in state.parameters.items()}, dict(state.statistics)
            judged[training.iteration] = (found.value, *tensors)
    values = [value for value, _, _ in judged.values()]
    best = max(judged, key=lambda iteration: judged[iteration][0])
    assert len(set(values)) > 1
    assert best != ITERATIONS, "the last iterate tells nothing: choose another seed"
    readings: list[Reading] = []
    job = Job(phase="search", trial=7, arch=ARCH, iterations=ITERATIONS, weights=tmp_path / "w.pt")
    result = evaluator(problem).evaluate(job, readings.append, lambda: False)
    told = {reading.iteration: reading.accuracy for reading in readings if reading.of == "judged"}
    assert told == {iteration: value for iteration, (value, *_) in judged.items()}
    saved = checkpoint.load(tmp_path / "w.pt")
    assert saved["extra"]["best"]["iteration"] == best
    left = saved["training"]["parameters"], saved["statistics"]
    for kept, expected in zip(left, judged[best][1:], strict=True):
        assert kept.keys() == expected.keys()
        assert all(torch.equal(kept[name], expected[name]) for name in kept)
    training.state.load(judged[best][1], judged[best][2])
    assert result.valid_accuracy == problem.judge(training.state, lambda: False).accuracy


def test_the_criterion_decides_what_the_score_is(problem: Problem, tmp_path: Path) -> None:
    results = {}
    for criterion in get_args(Criterion):
        scratch = Scratch(max_seconds=None, criterion=criterion, problem=problem, keep=None)
        results[criterion] = contract.judged(scratch, ARCH, 4, tmp_path / f"{criterion}.pt")
    training = problem.training(problem.space.parse(ARCH), 4)
    while not training.done:
        training.step()
    known = {contract.timeless(replace(r, criterion="accuracy")) for r in results.values()}
    assert len(known) == 1, "all that is known does not depend on it"
    assert results["accuracy"].score == results["loss"].valid_accuracy
    assert results["loss"].score == -(results["accuracy"].valid_loss or 0)
    assert results["training_speed"].score == -training.late_loss()


SCRIPTS = {
    "ties: the earliest": ([0.5, 0.7, 0.7, 0.6], None, 4, 7),
    "the last": ([0.5, 0.6, 0.7, 0.8], None, 7, 7),
    "not finite": ([0.5, math.nan, 0.4, math.nan], None, 2, 7),
    "out of patience": ([0.5, 0.4, 0.9, 0.9], 1, 2, 4),
    "patient enough": ([0.5, 0.4, 0.9, 0.9], 2, 6, 7),
}


@pytest.mark.parametrize("values, patience, best, end", SCRIPTS.values(), ids=SCRIPTS)
def test_which_iterate_is_kept_and_when_training_ends(
    values: list[float],
    patience: int | None,
    best: int,
    end: int,
    problem: Problem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = iter(values)

    def scripted(*_: object) -> Score:
        value = next(script)
        return Score(value, value if math.isnan(value) else 1.0, 0.0, torch.tensor([value]))

    monkeypatch.setattr(Problem, "judge_iterate", scripted)
    result = contract.judged(evaluator(problem, patience=patience), ARCH, ITERATIONS, tmp_path / "w.pt")
    assert (result.kept_iteration, result.ended_iteration) == (best, end)
    saved = checkpoint.load(tmp_path / "w.pt")
    assert (saved["extra"]["best"]["iteration"], saved["training"]["iteration"]) == (best, end)


@pytest.mark.parametrize("keep", [None, KeepBest(EVERY, None)], ids=["last", "best"])
@pytest.mark.parametrize("other", ["another seed", "more iterations", "fewer iterations"])
def test_the_file_of_another_training_changes_nothing(
    other: str, keep: KeepBest | None, problem: Problem, tmp_path: Path
) -> None:
    """Such a file lies where a number is given out anew, because the budget has grown."""
    constant = replace(problem, optimizer=replace(problem.optimizer, schedule="constant"))
    made = replace(constant, seed=5, load_train=problem.load_train) if other == "another seed" else constant
    lengths = {"more iterations": 9, "fewer iterations": 3}

    def scratch(of: Problem) -> Scratch:
        return Scratch(max_seconds=None, criterion="accuracy", problem=of, keep=keep)

    path, fresh = tmp_path / "w.pt", tmp_path / "fresh.pt"
    contract.judged(scratch(made), ARCH, lengths.get(other, ITERATIONS), path)
    found = contract.judged(scratch(constant), ARCH, ITERATIONS, path)
    assert contract.timeless(found) == contract.timeless(
        contract.judged(scratch(constant), ARCH, ITERATIONS, fresh)
    )
    kept, expected = (checkpoint.load(file) for file in (path, fresh))
    for part in ("parameters", "iteration"):
        assert str(kept["training"][part]) == str(expected["training"][part])
    assert str(kept["statistics"]) == str(expected["statistics"])


def test_iterates_are_judged_on_other_tasks_than_candidates(problem: Problem) -> None:
    training = problem.training(problem.space.parse(ARCH), 1)
    training.finish()
    longer = score(problem.learner, training.state, problem.valid, 3 * TASKS_AT_ONCE)
    first = problem.judge(training.state, lambda: False).per_task
    other = problem.judge_iterate(training.state, lambda: False).per_task
    assert torch.equal(first, longer.per_task[:25])
    assert torch.equal(other[:20], longer.per_task[40:])


@pytest.mark.parametrize(
    "overrides, key",
    [
        (["budget.patience=3"], "budget.patience: .*budget.keep=best"),
        (["budget.keep=best", "budget.judge_every=0"], "budget.judge_every: .* 0,"),
        (["budget.keep=first"], "budget.keep: .*'first'"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        composition(*overrides)


@pytest.mark.parametrize("first", ["best", "last"])
def test_a_file_of_the_other_kind_is_not_taken_for_its_own(
    first: str, problem: Problem, tmp_path: Path
) -> None:
    """Rounds that were not recorded may have left one under a number that is given out again."""
    keep = {"best": KeepBest(EVERY, None), "last": None}
    second = {"best": "last", "last": "best"}[first]

    def trained(kind: str, path: Path) -> bytes:
        scratch = Scratch(max_seconds=None, criterion="accuracy", problem=problem, keep=keep[kind])
        job = Job(phase="final", trial=0, arch=ARCH, iterations=ITERATIONS, weights=path)
        assert scratch.evaluate(job, lambda reading: None, lambda: False).status == "ok"
        return repr(checkpoint.load(path)["training"]["parameters"]).encode()

    fresh = trained(second, tmp_path / "fresh.pt")
    assert trained(first, tmp_path / "used.pt") != fresh
    assert trained(second, tmp_path / "used.pt") == fresh
