"""`nasmeta resume RUN --retry-failed`: failed trials are tried again; the journal keeps the first failure."""

import json
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.errors import Diverged
from nasmeta.evaluators.scratch import Scratch
from nasmeta.run.journal import read
from tests.cli.kills import outcome
from tests.cli.test_growth import TINY_RANDOM, begun
from tests.cli.test_resume_strategies import killed

RANDOM = [*TINY_RANDOM, "budget.trials=3", "budget.final_candidates=2"]


def failing(monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
    """Makes the trainings of these numbers fail, counted from 0 in the order in which they begin."""
    judge, count = Scratch._judge, iter(range(1000))

    def once(self: Scratch, *arguments: Any) -> Any:
        if next(count) in calls:
            raise Diverged("for the test")
        return judge(self, *arguments)

    monkeypatch.setattr(Scratch, "_judge", once)


def statuses(directory: Path, phase: str) -> list[tuple[int, str]]:
    lines, _ = read(directory / "journal.jsonl")
    return [(r["trial"], r["status"]) for r in lines if r["event"] == "finished" and r["phase"] == phase]


def test_a_retried_trial_counts_and_the_first_failure_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Random search proposes the same whatever fails, so that all ends as if nothing had failed."""
    assert main(begun(tmp_path / "well", RANDOM)) == 0
    well = outcome(tmp_path / "well")
    with monkeypatch.context() as patch:
        failing(patch, {1, 3})  # of the search, and the reference in full
        assert main(begun(tmp_path / "run", RANDOM)) == 0
    first = outcome(tmp_path / "run")["summary"]
    assert (first["failed_trials"], first["reference"]["test_tasks"]) == (1, 0)
    assert main(["resume", str(tmp_path / "run"), "--retry-failed"]) == 0
    assert statuses(tmp_path / "run", "search") == [(0, "ok"), (1, "failed"), (2, "ok"), (1, "ok")]
    assert statuses(tmp_path / "run", "reference") == [(0, "failed"), (1, "ok")]
    again = outcome(tmp_path / "run")
    assert {name: again[name] for name in ("summary", "tensors", "arch")} == {
        name: well[name] for name in ("summary", "tensors", "arch")
    }
    earlier = json.loads((tmp_path / "run" / "earlier" / "1" / "summary.json").read_text())
    assert earlier["failed_trials"] == 1
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    assert main(["resume", str(tmp_path / "run"), "--retry-failed"]) == 0
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before
    assert main(["resume", str(tmp_path / "run"), "budget.trials=4"]) == 0, "the journal replays"


def test_killed_while_it_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory in (tmp_path / "unbroken", tmp_path / "run"):
        with monkeypatch.context() as patch:
            failing(patch, {0, 2})
            assert main(begun(directory, [*RANDOM, "save_seconds=0"])) == 0
    command, kills = ["resume", str(tmp_path / "run"), "--retry-failed"], 0
    while killed(command, 9):
        command, kills = ["resume", str(tmp_path / "run")], kills + 1
        assert kills < 20
    assert main(["resume", str(tmp_path / "unbroken"), "--retry-failed"]) == 0
    assert kills > 1
    assert outcome(tmp_path / "run") == outcome(tmp_path / "unbroken")


def test_a_run_whose_trials_all_failed_gets_another_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, set(range(100)))
        assert main(begun(tmp_path, RANDOM)) == 1
    assert main(["resume", str(tmp_path)]) == 1
    assert main(["resume", str(tmp_path), "--retry-failed"]) == 0
    assert statuses(tmp_path, "search") == [(n, status) for status in ("failed", "ok") for n in range(3)]
