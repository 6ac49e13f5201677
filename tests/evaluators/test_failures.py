"""Candidates that go wrong are failed results with a reason; the run goes on, or says why it cannot."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.datasets.base import EpisodeSampler
from nasmeta.errors import RunFailed, TimedOut
from nasmeta.evaluators.failures import limited
from nasmeta.evaluators.zero_cost.proxies import PROXIES
from nasmeta.run.composition import Composition
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.mlp import MlpSpace
from nasmeta.testing.evaluators import judged
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.problem import Problem
from tests.cli.runs import TINY
from tests.test_search import records, run

SHORT = ("budget.trials=2", "budget.final_candidates=1")


def test_one_candidate_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = MetaTraining.step
    steps = iter(range(10_000))

    def slow(self: MetaTraining) -> None:
        if next(steps) == 1:  # of the first candidate
            time.sleep(1.1)
        step(self)

    monkeypatch.setattr(MetaTraining, "step", slow)
    summary = run(tmp_path, *SHORT, "evaluator.max_seconds=1.0", "budget.trials=3")
    assert summary["failed_trials"] == 1
    (failed,) = records(tmp_path, "finished", phase="search", status="failed")
    assert failed["trial"] == 0
    assert failed["reason"] == "TimedOut: not judged within evaluator.max_seconds=1"
    monkeypatch.undo()
    assert run(tmp_path, *SHORT, "evaluator.max_seconds=1.0", "budget.trials=3") == summary, "as recorded"


def test_all_take_too_long(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"first 2 trials .*: TimedOut: .*max_seconds=1e-06"):
        run(tmp_path, *SHORT, "evaluator.max_seconds=0.000001")


def test_the_time_before_an_interruption_counts() -> None:
    stop = limited(lambda: False, 10.0, spent=9.99)
    time.sleep(0.02)
    with pytest.raises(TimedOut, match="max_seconds=10"):
        stop()
    assert limited(lambda: True, 10.0)() is True
    assert limited(lambda: True, None)() is True


def test_the_sample_that_a_vote_compares_with_takes_no_candidates_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(net: object) -> float:
        time.sleep(0.02)
        return 1.0

    monkeypatch.setitem(PROXIES, "snip", slow)
    vote = [
        "evaluator=zero_cost",
        "evaluator.proxy=vote",
        "evaluator.voters=[snip]",
        "evaluator.reference=100",
    ]  # two seconds
    composition = Composition.of(parse(composed([*TINY, *vote, "evaluator.max_seconds=1"]), trusted=True))
    problem = composition.problem
    evaluator, arch = composition.evaluator(problem), str(problem.space.initial())
    iterations = composition.config.keys.budget.search_iterations
    assert judged(evaluator, arch, iterations, tmp_path / "checkpoints" / "w.pt").reason is None


@pytest.mark.parametrize("where", ["score", "proxy"])
def test_judging_and_proxies_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The time is looked at between the tasks that judge a network, and between batches of a proxy."""

    def slow(self: EpisodeSampler, *arguments: Any) -> Any:
        time.sleep(0.3)
        return batch(self, *arguments)

    more = ["evaluator=zero_cost", "evaluator.proxy=grad_norm"] if where == "proxy" else []
    composition = Composition.of(parse(composed([*TINY, *more, "evaluator.max_seconds=0.2"]), trusted=True))
    problem = composition.problem
    arch = str(problem.space.initial())
    sampler = type(problem.valid if where == "score" else problem.train)
    batch = sampler.batch
    monkeypatch.setattr(sampler, "batch", slow)
    evaluator = composition.evaluator(problem)
    iterations = composition.config.keys.budget.search_iterations
    result = judged(evaluator, arch, iterations, tmp_path / "checkpoints" / "w.pt")
    assert result.reason == "TimedOut: not judged within evaluator.max_seconds=0.2"
    assert result.seconds >= 0.2


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Makes the networks of more than 7000 parameters call a function in every forward pass.

    Their cost is measured and draws know no limits, as in a space without formulas.
    """

    def make(act: Callable[[], None]) -> None:
        build = MlpSpace.build

        def built(self: MlpSpace, arch: Any, task: Any) -> torch.nn.Module:
            module = build(self, arch, task)
            if sum(p.numel() for p in module.parameters()) > 7000:
                module.get_submodule("body").register_forward_pre_hook(lambda *args: act())
            return module

        monkeypatch.setattr(MlpSpace, "build", built)
        monkeypatch.setattr(MlpSpace, "formula_cost", SearchSpace.formula_cost)
        monkeypatch.setattr(MlpSpace, "with_draws_for", SearchSpace.with_draws_for)

    return make


MIXED = (
    "strategy.population_size=6",
    "strategy.start=random",
    "budget.trials=6",
    "budget.final_candidates=1",
)


@pytest.mark.parametrize(
    "more", [(), ("evaluator=zero_cost", "evaluator.proxy=grad_norm")], ids=["scratch", "zero"]
)
def test_a_network_that_cannot_run_is_a_failed_trial(
    tmp_path: Path,
    wrong: Callable[[Callable[[], None]], None],
    more: tuple[str, ...],
) -> None:
    tries: list[None] = []

    def counted() -> None:
        tries.append(None)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    wrong(counted)
    summary = run(tmp_path, *MIXED, *more)
    failed = [r["reason"] for r in records(tmp_path, "finished", phase="search", status="failed")]
    uncountable = records(tmp_path, "uncountable")
    assert 0 < len(failed) < 6
    assert all(text.startswith("RuntimeError: mat1") for text in failed)
    assert len(uncountable) >= len(failed)
    assert summary["failed_trials"] == len(failed)
    before = len(tries)
    assert run(tmp_path, *MIXED, *more) == summary, "as recorded"
    assert before > 0
    assert len(tries) == before, "what was found out is not tried again"


@pytest.mark.parametrize(
    "error,reason",
    [
        (
            RuntimeError("mat1 and mat2 shapes cannot be multiplied\nmore"),
            "RuntimeError: mat1 and",
        ),
        (ValueError("Expected more than 1 value per channel"), "ValueError: Expected more than"),
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "DoesNotFit: not even one task fits in memory: CUDA out of memory",
        ),
        (MemoryError(), "MemoryError: no reason given"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_module_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    training = Problem.training
    first: list[Any] = []

    def broken(self: Problem, arch: Any, iterations: int) -> Any:
        first[:] = first or [arch]
        if arch == first[0] and iterations == 3:
            raise error
        return training(self, arch, iterations)

    monkeypatch.setattr(Problem, "training", broken)
    summary = run(tmp_path, *SHORT, "budget.trials=3")
    assert summary["failed_trials"] >= 1
    failed = records(tmp_path, "finished", phase="search", status="failed")
    assert failed[0]["reason"].startswith(reason)
    assert "\n" not in failed[0]["reason"]
