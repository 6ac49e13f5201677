"""Sweeps by Optuna: killed and resumed, the study ends as if never interrupted, no trial counted twice."""

import json
import signal
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.run.manifest import Manifest, StudySettings, SweepPlan
from tests.cli.kills import outcome, spawn
from tests.cli.runs import SHORT, jobs
from tests.conftest import has_extra

needs_optuna = pytest.mark.extra("optuna")

OPTUNA = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2"]
PRUNED = ["hydra.sweeper.pruner={name:PercentilePruner,percentile:1.0,n_startup_trials:1}"]
SWEPT = "meta_learner.inner_lr=interval(0.001,0.05)"


def sweep(directory: Path, *overrides: str) -> list[str]:
    return ["search", *SHORT, "save_seconds=0", f"hydra.sweep.dir={directory}", *OPTUNA, *overrides]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "sweep"
    assert spawn(sweep(directory, *PRUNED, SWEPT)) == 0
    return directory


@needs_optuna
def test_jobs_tell_the_study_their_validation_scores(unbroken: Path) -> None:
    listed = jobs(unbroken)
    assert {job["status"] for job in listed} == {"done", "pruned"}
    for job in listed:
        told, place = job["numbers"], unbroken / job["directory"]
        events = [json.loads(line) for line in (place / "journal.jsonl").open()]
        losses = [e["valid_loss"] for e in events if e["event"] == "finished" and e["phase"] == "search"]
        assert job["scores"] == [-min(losses[: n + 1]) for n in range(len(losses))]
        assert (events[-1]["event"] == "pruned") == (job["status"] == "pruned")
        assert (place / "summary.json").exists() == (job["status"] == "done")
        if job["status"] == "done":
            best = json.loads((place / "summary.json").read_text())["best"]
            costs = {name: best[name] for name in ("params", "flops", "memory", "flash")}
            assert told == {"score": -best["valid_loss"], **costs}


@needs_optuna
def test_a_pruned_job_says_so_and_can_go_on(
    unbroken: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    number = next(job["number"] for job in jobs(unbroken) if job["status"] == "pruned")
    assert main(["show", str(unbroken / str(number))]) == 0
    assert "pruned" in capfd.readouterr().out
    assert main(["show", str(unbroken)]) == 0
    assert "pruned" in capfd.readouterr().out
    assert main(["report", str(unbroken), "--output", str(tmp_path / "report.html")]) == 0
    assert "resume it" not in (tmp_path / "report.html").read_text()


@needs_optuna
@pytest.mark.parametrize("kill_at,torn", [(2, False), (40, True), (75, False)])
def test_killed_and_resumed(unbroken: Path, tmp_path: Path, kill_at: int, torn: bool) -> None:
    directory = tmp_path / "sweep"
    assert spawn(sweep(directory, *PRUNED, SWEPT), kill_at, torn) == -signal.SIGKILL
    done = {
        job["number"]: (directory / job["directory"] / "best.pt").stat().st_mtime_ns
        for job in jobs(directory)
        if job["status"] == "done"
    }
    assert spawn(["resume", str(directory)]) == 0
    assert jobs(directory) == jobs(unbroken)
    for job in jobs(unbroken):
        if job["status"] == "done":
            assert outcome(directory / job["directory"]) == outcome(unbroken / job["directory"])
    for number, moment in done.items():
        assert (directory / str(number) / "best.pt").stat().st_mtime_ns == moment, "run again"


@needs_optuna
def test_a_study_takes_more_trials(unbroken: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "sweep"
    assert spawn([*sweep(directory, *PRUNED, SWEPT), "hydra.sweeper.n_trials=2"]) == 0
    assert main(["resume", str(directory), "hydra.sweeper.n_trials=1"]) == 2
    assert "hydra.sweeper.n_trials=1: should be a number, and at least 2" in capfd.readouterr().err
    assert spawn(["resume", str(directory), "hydra.sweeper.n_trials=5"]) == 0
    assert (directory / "sweep.json").read_bytes() == (unbroken / "sweep.json").read_bytes()


@needs_optuna
def test_a_failed_trial_stops_no_other_and_stays_failed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep"
    assert main(sweep(directory, "optimizer.lr=choice(1e30,0.005)")) == 1
    err = capfd.readouterr().err
    assert "job 1 failed: " in err or "job 0 failed: " in err
    assert "best of the study: job" in err
    assert "Error executing job" not in err
    before = jobs(directory)
    assert {job["status"] for job in before} == {"failed", "done"}
    assert main(["resume", str(directory)]) == 1
    assert jobs(directory) == before
    assert f"nasmeta resume {directory}" in capfd.readouterr().err


@needs_optuna
@pytest.mark.parametrize(
    "wrong,told",
    [
        (["optimizer.lrr=interval(0.1,1)"], "optimizer.lrr"),
        (["meta_learner=choice(maml,mamll)"], "did you mean 'maml'"),
        (["optimizer.lr=interval(-1,1)"], "optimizer.lr: got -1.0"),
        (["optimizer.lr=0.1"], "nothing to sweep over"),
        ([SWEPT, "hydra.sweeper.sampler=TPE"], "hydra.sweeper.sampler"),
        ([SWEPT, "hydra.sweeper.n_trial=3"], "hydra.sweeper.n_trial"),
    ],
)
def test_what_is_wrong_is_said_before_anything_begins(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], wrong: list[str], told: str
) -> None:
    assert main(sweep(tmp_path / "sweep", *wrong)) == 2
    err = capfd.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "sweep").exists()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if has_extra("optuna"):
        pytest.skip("it is installed")
    assert main(sweep(tmp_path / "sweep", SWEPT)) == 2
    err = capfd.readouterr().err
    assert "pip install 'nasmeta[optuna]'" in err
    assert len(err.splitlines()) == 1


@needs_optuna
@pytest.mark.parametrize(
    "options,fixed",
    [
        ([], "hydra.searchpath=[somewhere]"),
        ([], "experiment=../elsewhere"),
        ([], "strategy._target_=os.system"),
        ([], "seed=${oc.env:HOME}"),
        ([], r"device=$\{oc.env:HOME\}"),
        (["--config-dir", "somewhere"], "seed=1"),
    ],
)
def test_a_stored_sweep_composes_nothing_but_settings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], fixed: str
) -> None:
    """What may be a stranger's: neither files nor code of theirs are read, and no variable is looked up."""
    space = {"optimizer.lr": '{"name": "FloatDistribution", "attributes": {"low": 0.1, "high": 1.0}}'}
    study = StudySettings(
        n_trials=1,
        n_jobs=1,
        sampler={"name": "RandomSampler"},
        pruner={"name": "NopPruner"},
        objectives=["score"],
        constraints={},
        seed=0,
        fixed=[fixed],
        space=space,
    )
    Manifest(tmp_path).write(SweepPlan(sweeper="optuna", total=1, options=options, study=study, jobs=[]))
    assert main(["resume", str(tmp_path)]) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert "stored" in err
    assert not (tmp_path / "0").exists()
