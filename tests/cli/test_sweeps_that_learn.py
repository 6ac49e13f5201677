"""Sweeps by Optuna: killed and resumed, the study ends as if never interrupted, no trial counted twice."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nasmeta.cli.main import main
from nasmeta.run.manifest import MANIFEST, Manifest, Plan
from tests.cli.kills import outcome, spawn
from tests.cli.runs import SHORT, jobs
from tests.conftest import has_extra

needs_optuna = pytest.mark.extra("optuna")

STUDY = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "optimizer.lr=interval(0.001,0.01)"]


def sweep(directory: Path, *overrides: str) -> list[str]:
    return ["search", *SHORT, f"hydra.sweep.dir={directory}", *STUDY, *overrides]


def change(directory: Path, number: int, **values: Any) -> None:
    plan = json.loads((directory / MANIFEST).read_text())
    plan["jobs"][number].update(values)
    (directory / MANIFEST).write_text(json.dumps(plan))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "sweep"
    assert spawn(sweep(directory)) == 0
    return directory


@needs_optuna
def test_the_study_maximizes_the_validation_score(unbroken: Path) -> None:
    results = [job["result"] for job in jobs(unbroken)]
    for number, result in enumerate(results):
        summary = json.loads((unbroken / str(number) / "summary.json").read_text())
        assert result == -summary["best"]["valid_loss"]
    kept = (unbroken / "optimization_results.yaml").read_text()
    assert f"best_value: {max(results)}" in kept


@needs_optuna
@pytest.mark.parametrize("kill_at,torn", [(2, False), (40, True), (75, False)])
def test_killed_and_resumed(unbroken: Path, tmp_path: Path, kill_at: int, torn: bool) -> None:
    directory = tmp_path / "sweep"
    assert spawn(sweep(directory), kill_at, torn) == -signal.SIGKILL
    done = {
        job["number"]: (directory / job["directory"] / "best.pt").stat().st_mtime_ns
        for job in jobs(directory)
        if job["status"] == "done"
    }
    assert spawn(["resume", str(directory), "--trust-code"]) == 0
    assert jobs(directory) == jobs(unbroken)
    for number in range(4):
        assert outcome(directory / str(number)) == outcome(unbroken / str(number))
    for number, moment in done.items():
        assert (directory / str(number) / "best.pt").stat().st_mtime_ns == moment, "run again"
    results = "optimization_results.yaml"
    assert (directory / results).read_bytes() == (unbroken / results).read_bytes()


@needs_optuna
def test_a_failed_trial_stops_no_other_and_stays_failed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep"
    assert main([*sweep(directory)[:-1], "optimizer.lr=choice(1e30,0.005)"]) == 1
    err = capfd.readouterr().err
    assert "job 1 failed: " in err or "job 0 failed: " in err
    assert "Error executing job" not in err
    assert "Failed experiment" not in err
    before = jobs(directory)
    assert {job["status"] for job in before} == {"failed", "done"}
    assert main(["resume", str(directory), "--trust-code"]) == 1
    assert jobs(directory) == before
    assert f"nasmeta resume {directory}" in capfd.readouterr().err


@needs_optuna
def test_where_every_trial_fails_it_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*sweep(tmp_path / "sweep")[:-1], "optimizer.lr=choice(1e30,1e31)"]) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("nasmeta: 4 of the sweep's jobs failed: job 0 (")


@needs_optuna
def test_another_proposal_than_the_recorded_one_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep"
    assert spawn(sweep(directory, "hydra.sweeper.n_trials=1")) == 0
    change(directory, 0, overrides=["optimizer.lr=0.5"])
    assert main(["resume", str(directory), "--trust-code"]) == 2
    assert "job 0 was optimizer.lr=0.5" in capfd.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_extra("optuna"):
        pytest.skip("it is installed")
    assert main(sweep(tmp_path / "sweep")) == 2
    assert "pip install 'nasmeta[optuna]'" in capfd.readouterr().err


def stored(directory: Path, *arguments: str) -> Manifest:
    directory.mkdir(parents=True)
    manifest = Manifest(directory)
    manifest.write(Plan(sweeper="optuna", total=None, arguments=["-m", *arguments], jobs=[]))
    return manifest


def test_a_stored_command_is_not_played_again_unless_the_user_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path / "sweep", "hydra/job_logging=none", "hydra.sweeper._target_=os.system", "seed=1")
    assert main(["resume", str(tmp_path / "sweep")]) == 2
    err = capfd.readouterr().err
    assert "sweep.json" in err
    assert f"nasmeta resume {tmp_path / 'sweep'} --trust-code" in err
    assert len(err.splitlines()) == 1
    assert os.listdir(tmp_path / "sweep") == [MANIFEST]


@pytest.mark.parametrize("name", ["it's", "a,b", "back\\", "x=[1]", "$HOME", "a b", "{c}", "\\'"])
def test_a_sweep_is_played_again_in_its_directory_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stored(tmp_path / name, "hydra.sweep.dir=elsewhere", "seed=1")
    launched: list[str] = []
    monkeypatch.setattr("nasmeta.cli.search.launch", lambda arguments, *_: launched.extend(arguments))
    assert main(["resume", str(tmp_path / name), "--trust-code"]) == 0
    assert launched[:2] == ["-m", "seed=1"]
    (override,) = OverridesParser.create().parse_overrides(launched[2:3])
    assert (override.key_or_group, override.value()) == ("hydra.sweep.dir", str(tmp_path / name))
