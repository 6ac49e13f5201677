"""`nasmeta show`: where a run stands, and how long it still takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.reporting.read.remaining import seconds_left
from nasmeta.run.directory import RunDirectory
from nasmeta.trial import Phase, TrialResult
from tests.reporting.stored_runs import copied, records, searched

SETTINGS = {
    "budget.trials": 5,
    "budget.search_iterations": 100,
    "budget.final_candidates": 2,
    "budget.final_rounds": 1,
    "budget.final_seeds": 1,
    "budget.final_tasks": 10,
    "budget.final_iterations": 1000,
    "budget.valid_tasks": 10,
    "budget.test_tasks": 50,
}
TRIAL = TrialResult(
    trial=0,
    arch="a",
    iterations=100,
    status="ok",
    valid_accuracy=0.5,
    params=1,
    flops=1,
    train_seconds=20.0,
    seconds=22.0,
)
ALL: tuple[tuple[Phase, int], ...] = (("final", 0), ("final", 1), ("reference", 0))


def test_the_time_left_counts_every_phase() -> None:
    """A meta-iteration takes 0.2 s and a judgement of 10 tasks 2 s."""
    search, training, test = 22.0, 1000 * 0.2 + 2.0, 2 * 50 * 0.2
    assert seconds_left(SETTINGS, [], trials=5, ended={}) is None
    whole = 3 * search + 3 * training + test
    assert seconds_left(SETTINGS, [TRIAL] * 2, trials=3, ended={}) == pytest.approx(whole)
    full = replace(TRIAL, iterations=1000, train_seconds=200.0, seconds=202.0)
    left = seconds_left(SETTINGS, [TRIAL, full], trials=0, ended={("final", 0): full})
    assert left == pytest.approx(2 * training + test)
    assert seconds_left(SETTINGS, [TRIAL], trials=0, ended=dict.fromkeys(ALL, full)) == pytest.approx(test)
    short = seconds_left(SETTINGS, [TRIAL], trials=0, ended=dict.fromkeys(ALL, TRIAL))
    assert short == pytest.approx(3 * training + test), "of before budget.final_iterations grew"


def test_the_time_left_counts_the_settings_of_the_reference() -> None:
    settings = {**SETTINGS, "tune.optimizer.lr": "[0.1, 0.01]", "budget.reference_trials": 4}
    plain, tuned = (
        seconds_left(each, [TRIAL], trials=1, ended={("tuning", 0): TRIAL}) for each in (SETTINGS, settings)
    )
    assert plain is not None
    assert tuned == pytest.approx(plain + 3 * 22.0)


def test_failed_trials_set_no_pace() -> None:
    failed = replace(TRIAL, status="failed", train_seconds=1e6, seconds=1e6)
    once, twice = (seconds_left(SETTINGS, [TRIAL, *[failed] * n], trials=2, ended={}) for n in (0, 1))
    assert once is not None
    assert twice == once


def test_a_run_at_every_moment(table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = records(table_run)
    for count in (1, 2, 8, len(lines) - 3):
        run = copied(table_run, tmp_path / str(count), lines=count)
        with RunDirectory(run).lock():
            assert main(["show", str(run)]) == 0
        out = capsys.readouterr().out
        ended = [r for r in lines[:count] if r["event"] == "finished" and r["phase"] == "search"]
        assert f"{len(ended)} of 25" in out
        assert f"resume {run}" in out
    best = max(searched(table_run), key=lambda r: r["valid_accuracy"])
    assert best["arch"] in out


def test_a_run_that_is_done_shows_its_table(table_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(table_run)]) == 0
    assert "searched" in capsys.readouterr().out


def test_a_run_that_failed(failed_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(failed_run)]) == 0
    assert "failed" in capsys.readouterr().out


def test_a_sweep_has_a_row_for_each_job(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(sweep)]) == 0
    first, *table = capsys.readouterr().out.splitlines()
    assert "6 done" in first
    assert sum("nsga2" in line.lower() for line in table) >= 2


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert str(tmp_path) in err
    assert len(err.splitlines()) == 1
