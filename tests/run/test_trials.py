"""Trials are started, awaited and recorded; judged by a function, so that no network is trained."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import RunDirectoryError
from nasmeta.run import records
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.events import Event, TrialFinished
from nasmeta.run.journal import Journal
from nasmeta.run.recorder import Recorder
from nasmeta.run.replay import replayed
from nasmeta.run.trials import Trials
from nasmeta.run.weights import TrialPlan
from nasmeta.strategies.base import Strategy
from nasmeta.trial import Cost, Job, TrialResult
from tests.cli.runs import TINY

Judge = Callable[[Job], TrialResult]


@pytest.fixture(scope="module")
def composition() -> Composition:
    return Composition.of(parse(composed(TINY), trusted=True))


def by_length(job: Job) -> TrialResult:
    """The longer the architecture's string, the better."""
    return TrialResult(
        trial=job.trial, arch=job.arch, iterations=job.iterations, status="ok", params=1, flops=1,
        valid_accuracy=len(job.arch) / 1000, train_seconds=0.0, seconds=5.0,
    )  # fmt: skip


@contextmanager
def trials_of(
    composition: Composition, path: Path, judge: Judge = by_length, seen: list[Event] | None = None
) -> Iterator[tuple[Trials, Journal, Strategy]]:
    """The trials of the run in `path`, and its strategy as the journal has left it."""
    evaluator = SimpleNamespace(
        leaves_weights=False,
        simulated_time=True,
        cost=lambda arch: Cost(1, 1),
        trains_networks=lambda: False,
    )
    evaluators: Any = SimpleNamespace(
        for_search=evaluator, problem=None, evaluate=lambda job, report, stop: judge(job)
    )
    with Journal(path / "journal.jsonl") as journal:
        recorder = Recorder(composition, RunDirectory(path), journal)
        recorder.announce.observers.append(([] if seen is None else seen).append)
        trials = Trials(composition, evaluators, recorder, lambda: False)
        with closing(trials):
            yield trials, journal, replayed(trials)


def ask(trials: Trials, strategy: Strategy) -> None:
    proposal = strategy.ask()
    assert proposal is not None
    asked = records.Asked.of(proposal)
    trials.recorder.record(asked)
    trials.start(TrialPlan.of(asked))


def test_a_trial_is_started_awaited_and_recorded(composition: Composition, tmp_path: Path) -> None:
    with trials_of(composition, tmp_path) as (trials, journal, strategy):
        assert trials.has_room
        ask(trials, strategy)
        assert not trials.has_room, "the serial executor runs one at a time"
        result = trials.next_result()
        assert trials.has_room
        assert trials.state.best is result
        assert trials.clock == 5.0, "simulated"
        assert [line["event"] for line in journal.records] == ["started", "asked", "finished"]
        outcome = trials.outcome(result)
        assert (outcome.trial, str(outcome.arch), outcome.score) == (0, result.arch, result.score)


def test_observers_hear_which_trial_is_the_best_so_far(composition: Composition, tmp_path: Path) -> None:
    seen: list[Event] = []
    scores = (0.2, 0.5, 0.4)

    def judge(job: Job) -> TrialResult:
        return replace(by_length(job), valid_accuracy=scores[job.trial])

    with trials_of(composition, tmp_path, judge, seen) as (trials, _, strategy):
        for _ in scores:
            ask(trials, strategy)
            strategy.tell(trials.outcome(trials.next_result()))
    assert [event.best for event in seen if isinstance(event, TrialFinished)] == [True, True, False]


def test_a_trial_that_was_in_flight_is_started_again(composition: Composition, tmp_path: Path) -> None:
    with trials_of(composition, tmp_path) as (trials, _, strategy):
        ask(trials, strategy)
        strategy.tell(trials.outcome(trials.next_result()))
        ask(trials, strategy)
        asked = trials.state.asked[1]
    with trials_of(composition, tmp_path) as (trials, journal, strategy):
        assert trials.waiting == [asked]
        before = len(journal.records)
        trials.start(TrialPlan.of(trials.waiting.pop()))
        assert trials.next_result().arch == asked.arch
        assert [line["event"] for line in journal.records[before:]] == ["resumed", "finished"]


def test_another_proposal_than_the_journals_is_refused(composition: Composition, tmp_path: Path) -> None:
    with trials_of(composition, tmp_path) as (trials, journal, strategy):
        ask(trials, strategy)
        journal.append("asked", trial=1, arch="fc99", iterations=3)
    with (
        pytest.raises(RunDirectoryError, match=r"journal\.jsonl: .*fc99"),
        trials_of(composition, tmp_path),
    ):
        pass


def test_a_trial_that_ends_unasked_is_refused(composition: Composition, tmp_path: Path) -> None:
    with trials_of(composition, tmp_path) as (trials, _, strategy):
        ask(trials, strategy)
        result = trials.next_result()
        trials.finish(TrialPlan("search", 0, result.arch, result.iterations), result)
    with (
        pytest.raises(RunDirectoryError, match="trial 0 ends"),
        trials_of(composition, tmp_path),
    ):
        pass
