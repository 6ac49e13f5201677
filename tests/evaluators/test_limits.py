"""Candidates that go wrong are failed results with a reason; the run goes on, or says why it cannot."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import RunFailed, TimedOut
from nasmeta.evaluators.limits import Limit
from nasmeta.networks import cost
from nasmeta.run.composition import Composition
from nasmeta.search_spaces.mlp import MlpSpace
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
    with pytest.raises(RunFailed, match=r"the first 2 trials all failed, the last one: TimedOut: not judged"):
        run(tmp_path, *SHORT, "evaluator.max_seconds=0.000001")


def test_the_time_before_an_interruption_counts() -> None:
    stop = Limit(10.0, spent=9.99).checked(lambda: False)
    time.sleep(0.02)
    with pytest.raises(Exception, match="max_seconds=10"):
        stop()
    assert Limit(10.0).checked(lambda: True)() is True
    assert Limit(None).checked(lambda: True)() is True


def endless() -> None:
    while True:
        pass


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """The alarm free to use, as it is for a run (pytest-timeout has it here), and free again after it."""
    theirs = signal.setitimer(signal.ITIMER_REAL, 0), signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        yield
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    finally:
        signal.signal(signal.SIGALRM, theirs[1])
        signal.setitimer(signal.ITIMER_REAL, *theirs[0])


def test_what_never_returns_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut, match=r"max_seconds=0\.1"):
        Limit(0.1).run(endless)
    assert time.monotonic() - began < 10
    assert Limit(10.0).run(lambda x: x + 1, 1) == 2
    with pytest.raises(ZeroDivisionError):
        Limit(10.0).run(lambda: 1 / 0)


def test_what_catches_everything_is_ended_in_the_end() -> None:
    def twice() -> None:
        try:
            endless()
        except TimedOut:
            endless()

    with pytest.raises(TimedOut):
        Limit(0.1).run(twice)


def test_the_state_of_a_with_statement_is_always_set_back() -> None:
    """However long its exit takes, and whatever it calls."""
    state = []

    @contextmanager
    def slow_to_set_back() -> Iterator[None]:
        state.append("set")
        try:
            yield
        finally:
            for _ in range(10):
                time.sleep(0.01)
            state.append("set back")

    def work() -> None:
        while True:
            with slow_to_set_back():
                for _ in range(10):
                    time.sleep(0.01)

    for seconds in (0.05, 0.1, 0.15, 0.2):
        state.clear()
        with pytest.raises(TimedOut):
            Limit(seconds).run(work)
        assert state.count("set") == state.count("set back")


def test_torch_is_as_before_wherever_a_training_is_cut() -> None:
    composition = Composition.of(parse(composed([*TINY, "task_parallel=vmap"]), trusted=True))
    problem = composition.problem()
    arch = problem.space.parse("fc16.relu.batch")

    def trained() -> list[torch.Tensor]:
        cost._measure.cache_clear()
        cost.measure_cost(problem.space, arch, problem.task)
        training = problem.training(arch, 4)
        while not training.done:
            training.step()
        training.finish()
        return list(training.state.parameters.values())

    expected = trained()
    began = time.monotonic()
    trained()
    seconds = time.monotonic() - began
    for moment in range(1, 40):
        with suppress(TimedOut):
            Limit(seconds * moment / 40).run(trained)
        assert torch.is_grad_enabled()
        assert torch.zeros(1).device.type == "cpu"
    assert all(torch.equal(a, b) for a, b in zip(trained(), expected, strict=True))


def test_elsewhere_than_in_the_main_thread_it_is_a_plain_call() -> None:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(Limit(0.01).run(lambda: 1)))
    thread.start()
    thread.join()
    assert results == [1]


def test_an_alarm_in_use_is_left_alone() -> None:
    signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        assert Limit(0.01).run(lambda: 1) == 1
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 90
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Makes the networks of more than 50,000 parameters call a function in every forward pass."""

    def make(act: Callable[[], None]) -> None:
        build = MlpSpace.build

        def built(self: MlpSpace, arch: Any, task: Any) -> torch.nn.Module:
            module = build(self, arch, task)
            if sum(p.numel() for p in module.parameters()) > 50_000:
                module.get_submodule("body").register_forward_pre_hook(lambda *args: act())
            return module

        monkeypatch.setattr(MlpSpace, "build", built)

    return make


def fails() -> None:
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


MIXED = ("strategy.population=6", "strategy.start=random", "budget.trials=6", "budget.final_candidates=1")


@pytest.mark.parametrize(
    "act,reason", [(endless, "TimedOut: not judged within"), (fails, "RuntimeError: mat1")]
)
@pytest.mark.parametrize(
    "more", [(), ("evaluator=zero_cost", "evaluator.proxy=grad_norm")], ids=["scratch", "zero"]
)
def test_a_network_that_cannot_run_is_a_failed_trial(
    tmp_path: Path,
    wrong: Callable[[Callable[[], None]], None],
    act: Callable[[], None],
    reason: str,
    more: tuple[str, ...],
) -> None:
    tries: list[None] = []

    def counted() -> None:
        tries.append(None)
        act()

    wrong(counted)
    summary = run(tmp_path, *MIXED, *more, "evaluator.max_seconds=1.0")
    failed = [r["reason"] for r in records(tmp_path, "finished", phase="search", status="failed")]
    uncountable = records(tmp_path, "uncountable")
    assert 0 < len(failed) < 6
    assert all(text.startswith(reason) for text in failed)
    assert len(uncountable) >= len(failed)
    assert summary["failed_trials"] == len(failed)
    before = len(tries)
    assert run(tmp_path, *MIXED, *more, "evaluator.max_seconds=1.0") == summary, "as recorded"
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
        (torch.OutOfMemoryError("CUDA out of memory"), "DoesNotFit: CUDA out of memory"),
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
