"""The main job: what is proposed, recorded, chosen and tested. Runs of a second on the sinusoid."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import Diverged, RunFailed
from nasmeta.executors.serial import SerialExecutor
from nasmeta.networks.cost import counted_cost
from nasmeta.reporting.tables.closing import closing_table
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.evaluators import Evaluators
from nasmeta.run.events import Event, TrialFinished
from nasmeta.run.journal import Journal
from nasmeta.run.recorder import Recorder
from nasmeta.run.search import search
from nasmeta.training.problem import Problem
from nasmeta.trial import Job
from tests.cli.runs import TINY


def run(
    path: Path, *overrides: str, observers: list[Any] | None = None, stop: Any = lambda: False
) -> dict[str, Any]:
    path.mkdir(exist_ok=True)
    composition = Composition.of(parse(composed([*TINY, *overrides]), trusted=True))
    directory = RunDirectory(path)
    with Journal(directory.journal) as journal:
        recorder = Recorder(composition, directory, journal)
        recorder.announce.observers += observers or []
        return search(composition, recorder, stop)


def records(path: Path, event: str, **values: Any) -> list[dict[str, Any]]:
    with Journal(path / "journal.jsonl") as journal:
        found = [r for r in journal.records if r["event"] == event]
    return [r for r in found if all(r[key] == value for key, value in values.items())]


def test_every_trial_is_asked_and_finished_in_order(tmp_path: Path) -> None:
    run(tmp_path)
    assert [r["trial"] for r in records(tmp_path, "asked")] == [0, 1, 2, 3]
    assert [r["trial"] for r in records(tmp_path, "finished", phase="search")] == [0, 1, 2, 3]
    assert len(records(tmp_path, "finished", phase="final")) == 2
    assert len(records(tmp_path, "finished", phase="reference")) == 1
    assert len(records(tmp_path, "tested")) == 1


def test_the_best_few_are_trained_in_full_and_one_is_chosen_on_validation(tmp_path: Path) -> None:
    summary = run(tmp_path)
    searched = sorted(records(tmp_path, "finished", phase="search"), key=lambda r: r["valid_loss"])
    finals = records(tmp_path, "finished", phase="final")
    reference = records(tmp_path, "finished", phase="reference")
    others = [r["arch"] for r in searched if r["arch"] != reference[0]["arch"]]
    assert [r["arch"] for r in finals] == others[:2]
    assert all(r["iterations"] == 4 for r in [*reference, *finals])
    chosen = min([*reference, *finals], key=lambda r: r["valid_loss"])
    assert summary["best"]["arch"] == chosen["arch"]
    assert summary["best"]["valid_loss"] == chosen["valid_loss"]


def test_the_meta_test_tasks_are_looked_at_at_the_end_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits: list[str] = []
    sampler = Composition.sampler

    def spy(self: Composition, split: Any) -> Any:
        if split == "test":
            finished = records(tmp_path, "finished")
            splits.append(f"after {len(finished)}")
        return sampler(self, split)

    monkeypatch.setattr(Composition, "sampler", spy)
    run(tmp_path)
    assert set(splits) == {"after 7"}, "when all is trained"


def test_failed_trials_are_recorded_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Problem.training
    calls = iter(range(100))

    def sometimes(self: Problem, arch: Any, iterations: int) -> Any:
        if next(calls) in (0, 2):
            raise Diverged("the loss is nan")
        return training(self, arch, iterations)

    monkeypatch.setattr(Problem, "training", sometimes)
    summary = run(tmp_path)
    assert summary["failed_trials"] == 2
    failed = records(tmp_path, "finished", phase="search", status="failed")
    assert [r["trial"] for r in failed] == [0, 2]
    assert failed[0]["reason"] == "Diverged: the loss is nan"


def test_out_of_memory_is_tried_again_with_fewer_tasks_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Problem.training
    sizes: list[int | None] = []

    def too_small(self: Problem, arch: Any, iterations: int) -> Any:
        sizes.append(self.execution.task_chunk)
        if self.execution.task_chunk is None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return training(self, arch, iterations)

    monkeypatch.setattr(Problem, "training", too_small)
    assert run(tmp_path)["failed_trials"] == 0
    assert sizes[:2] == [None, 1], "two tasks a meta-batch, then one at a time"


def _raising(error: Exception) -> Any:
    def method(*args: Any, **kwargs: Any) -> Any:
        raise error

    return method


def test_a_search_in_which_all_fails_stops_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"20 trials .*Diverged: "):
        run(tmp_path, "meta_learner.inner_lr=1e30", "budget.trials=50")
    assert len(records(tmp_path, "finished")) == 20


def test_the_wall_clock_limit_ends_the_search_phase(tmp_path: Path) -> None:
    summary = run(tmp_path, "budget.max_seconds=0.000001", "budget.trials=50")
    assert summary["trials"] == 1, "one trial is always looked at"


def test_candidates_respect_the_constraints(tmp_path: Path) -> None:
    run(tmp_path, "constraints.max_params=300", "constraints.max_flops=500", "budget.trials=6")
    composition = Composition.of(parse(composed(TINY), trusted=True))
    asked = records(tmp_path, "asked")
    assert len(asked) == 6
    for record in asked:
        cost = counted_cost(composition.space, composition.space.parse(record["arch"]), composition.task)
        assert cost.params <= 300
        assert cost.flops <= 500


def test_measured_latencies_are_recorded_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasmeta.run import constraints

    clock = iter(
        range(1, 10_000)
    )  # what is beyond the limit are scaled references, measured after the trials
    monkeypatch.setattr(constraints, "measure_latency", lambda *args: float(next(clock)))
    run(tmp_path / "a", "constraints.max_latency_ms=4.5", "budget.trials=4")
    measured = {r["arch"]: r["ms"] for r in records(tmp_path / "a", "measured")}
    assert [measured[r["arch"]] for r in records(tmp_path / "a", "asked")] == [1.0, 2.0, 3.0, 4.0]
    ended = records(tmp_path / "a", "finished")
    assert {r["phase"] for r in ended} >= {"search", "final", "reference"}
    assert all(r["latency_ms"] == measured[r["arch"]] for r in ended)
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["reference"]["latency_ms"] == measured[summary["reference"]["arch"]]
    table = closing_table(summary, tmp_path / "a")
    assert f"{measured[summary['best']['arch']]:.3g} ms" in table
    journal = (tmp_path / "a" / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "journal.jsonl").write_text("".join(journal[:6]))
    monkeypatch.setattr(constraints, "measure_latency", lambda *args: 2.0)
    run(tmp_path / "b", "constraints.max_latency_ms=4.5", "budget.trials=4")
    first = [r["arch"] for r in records(tmp_path / "a", "asked")]
    assert [r["arch"] for r in records(tmp_path / "b", "asked")] == first


def test_latencies_that_are_measured_beside_trials_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from nasmeta.run import constraints

    monkeypatch.setattr(constraints, "measure_latency", lambda *args: 1.0)
    limits = ["constraints.max_latency_ms=1000", "constraints.max_params=2000"]
    run(tmp_path / "quiet", *limits)
    assert "latencies" not in caplog.text
    monkeypatch.setattr(SerialExecutor, "capacity", 2)
    run(tmp_path / "noisy", *limits)
    assert caplog.text.count("executor=serial") == 1


def test_as_many_trials_as_the_executor_takes_are_asked_for_before_results_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SerialExecutor, "capacity", 3)
    run(tmp_path)
    with Journal(tmp_path / "journal.jsonl") as journal:
        events = [
            (r["event"], r["trial"])
            for r in journal.records
            if r.get("phase") in (None, "search") and "trial" in r
        ]
    asked, finished = ([(event, trial) for trial in range(4)] for event in ("asked", "finished"))
    assert events == [*asked[:3], finished[0], asked[3], *finished[1:]]


def test_a_reference_that_cannot_be_trained_is_said_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasmeta.errors import Diverged
    from nasmeta.reporting.tables.closing import closing_table

    evaluate = Evaluators.evaluate

    def failing(self: Evaluators, job: Job, *arguments: Any) -> Any:
        if job.phase != "reference":
            return evaluate(self, job, *arguments)
        with monkeypatch.context() as patch:
            patch.setattr(Problem, "training", _raising(Diverged("the loss is nan")))
            return evaluate(self, job, *arguments)

    monkeypatch.setattr(Evaluators, "evaluate", failing)
    summary = run(tmp_path)
    assert summary["reference"]["test_loss"] is None
    assert summary["difference"] is None
    table = closing_table(summary, tmp_path)
    assert "Diverged: the loss is nan" in table


def test_an_observer_that_fails_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise ValueError("broken pipe")

    assert _timeless(run(tmp_path / "a", observers=[broken, seen.append])) == _timeless(run(tmp_path / "b"))
    assert sum(isinstance(event, TrialFinished) for event in seen) == 7
    assert caplog.text.count("is switched off") == 1


def _timeless(summary: dict[str, Any]) -> str:
    for part in (summary, summary["best"], summary["reference"]):
        for key in ("wall_seconds", "train_seconds", "command"):
            part.pop(key, None)
    return json.dumps(summary)


def test_the_main_job_stays_on_one_screen() -> None:
    """A module of at most 150 lines, and no class of more than twelve methods in the room."""
    room = Path(sys.modules[search.__module__].__file__ or "").parent
    assert len((room / "search.py").read_text().splitlines()) <= 150
    for file in room.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
                assert len(methods) <= 12, f"{file.name}: {node.name} has {len(methods)}"
