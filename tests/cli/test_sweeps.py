"""Sweeps: killed and resumed they end as if never interrupted; a failing job stops no other."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.run.manifest import MANIFEST, Manifest
from nasmeta.runtime import files
from tests.cli.kills import outcome, spawn
from tests.cli.runs import SHORT, jobs
from tests.conftest import has_extra

GRID = ["-m", "seed=0,1,2"]


def sweep(directory: Path, *overrides: str) -> list[str]:
    return ["search", *SHORT, f"hydra.sweep.dir={directory}", *overrides]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "sweep"
    assert spawn(sweep(directory, *GRID)) == 0
    return directory


def test_the_manifest_lists_every_job_by_its_resolved_configuration(unbroken: Path) -> None:
    listed = jobs(unbroken)
    assert [job["number"] for job in listed] == [0, 1, 2]
    assert [job["directory"] for job in listed] == ["0", "1", "2"]
    assert [job["config"]["seed"] for job in listed] == [0, 1, 2]
    assert {job["status"] for job in listed} == {"done"}


# Writes: the plan, a job's beginning, its 18 or so lines and checkpoints, its end; then the next job.
@pytest.mark.parametrize("kill_at,torn", [(1, True), (2, False), (40, True)])
def test_killed_and_resumed(unbroken: Path, tmp_path: Path, kill_at: int, torn: bool) -> None:
    directory = tmp_path / "sweep"
    assert spawn(sweep(directory, *GRID), kill_at, torn) == -signal.SIGKILL
    if kill_at == 1:  # no plan was made, so there is no sweep
        assert spawn(["resume", str(directory)]) == 2
        return
    before = [job["status"] for job in jobs(directory)]
    done = {n: (directory / str(n) / "best.pt").stat() for n, s in enumerate(before) if s == "done"}
    assert spawn(["resume", str(directory)]) == 0
    assert [{**job, "config": None} for job in jobs(directory)] == [
        {**job, "config": None} for job in jobs(unbroken)
    ]
    for number in range(3):
        assert outcome(directory / str(number)) == outcome(unbroken / str(number))
    for number, stat in done.items():
        assert (directory / str(number) / "best.pt").stat().st_mtime_ns == stat.st_mtime_ns, (
            "a finished job was run again"
        )


@pytest.mark.extra("joblib")
def test_jobs_side_by_side_are_those_of_one_after_the_other(
    unbroken: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep"
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert main(sweep(directory, *GRID, *parallel, "progress=true")) == 0
    told = [line for line in capfd.readouterr().err.splitlines() if "trial " in line]
    assert told
    assert all(re.match(r"job [012]: ", line) for line in told), told
    assert {line[4] for line in told} == set("012")
    assert {job["status"] for job in jobs(directory)} == {"done"}
    for number in range(3):
        assert outcome(directory / str(number)) == outcome(unbroken / str(number))
    directory = tmp_path / "failing"
    assert main(sweep(directory, "-m", "meta_learner.inner_lr=1e30,0.01", *parallel)) == 1
    assert "job 0 (" in capfd.readouterr().err
    assert [job["status"] for job in jobs(directory)] == ["failed", "done"]


STAND_INS = """
import os
import time
from pathlib import Path
from types import SimpleNamespace
import torch
from nasmeta.datasets.sinusoid import Sinusoid
from nasmeta.run.journal import Journal
from nasmeta.runtime import device

def stand_in(name, index):
    Path(__file__).with_name(f"{os.getpid()}.{index}").touch()
    return torch.device("cpu", index)

two = SimpleNamespace(
    is_available=lambda: True, device_count=lambda: 2, get_device_properties=lambda n: SimpleNamespace(uuid=n)
)
device.torch = SimpleNamespace(cuda=two, backends=torch.backends, device=stand_in)

def held(self, event, append=Journal.append, **values):
    told = append(self, event, **values)
    while event == "finished" and Path(__file__).with_name("hold").exists():
        time.sleep(0.01)
    return told

Journal.append = held

class Mine(Sinusoid):
    pass
"""


@pytest.mark.extra("joblib")
def test_jobs_side_by_side_have_devices_of_their_own(unbroken: Path, tmp_path: Path) -> None:
    """Two CPU devices stand for two GPUs. All jobs are killed after their first trials, and resumed.

    The process that begins the sweep keeps no device.
    """
    (tmp_path / "mine.py").write_text(STAND_INS)
    places = {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    directory, hold = tmp_path / "sweep", tmp_path / "hold"
    options = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "device=cuda:auto"]

    def started(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "nasmeta", *words]
        return subprocess.Popen(command, env=os.environ | places, start_new_session=True)

    def taken(run: subprocess.Popen[bytes]) -> list[str]:
        files = [path for path in tmp_path.glob("*.[01]") if path.stem != str(run.pid)]
        return sorted(path.suffix for path in files)

    hold.touch()
    killed = started(*sweep(directory, *GRID, *options, "dataset._target_=mine.Mine"))
    journals = [directory / str(number) / "journal.jsonl" for number in (0, 1)]
    while not all(path.exists() and '"finished"' in path.read_text() for path in journals):
        assert killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert taken(killed) == [".0", ".1"]
    command = [*map(str, ("nasmeta", "resume", directory)), *options[:2], "--trust-code"]
    assert set(Manifest(directory).resume_command().split()) == set(command)
    for path in [hold, *tmp_path.glob("*.[01]")]:
        path.unlink()
    resumed = started("resume", str(directory), *options[:2], "--trust-code")
    assert resumed.wait(120) == 0
    assert taken(resumed) == [".0", ".1"]
    assert all('"resumed"' in path.read_text() for path in journals)
    for number in range(3):
        tensors = (outcome(place / str(number))["tensors"] for place in (tmp_path / "sweep", unbroken))
        assert next(tensors) == next(tensors)


@pytest.mark.parametrize(
    "option, extra",
    [("hydra/launcher=joblib", "joblib"), ("hydra/launcher=submitit_slurm", "slurm")],
)
def test_launchers_that_are_not_installed_name_their_extra(
    option: str, extra: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if has_extra(extra):
        pytest.skip("it is installed")
    assert main(sweep(tmp_path / "sweep", *GRID, option)) == 2
    err = capfd.readouterr().err
    assert f"{option}: " in err
    assert f"'nasmeta[{extra}]'" in err


def test_a_job_that_has_ended_unnoticed_takes_the_sweeps_settings(unbroken: Path, tmp_path: Path) -> None:
    """It was killed between its end and the manifest, or resumed by itself."""
    directory = Path(shutil.copytree(unbroken, tmp_path / "sweep"))
    plan = json.loads((directory / "sweep.json").read_text())
    plan["jobs"][0]["status"] = "running"
    (directory / "sweep.json").write_text(json.dumps(plan))
    assert main(["resume", str(directory), "on_failure=stop"]) == 0
    assert {job["status"] for job in jobs(directory)} == {"done"}


def test_the_search_path_is_the_sweeps(tmp_path: Path) -> None:
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nsave_seconds: 77.0\n")
    directory, path = tmp_path / "sweep", f"hydra.searchpath=[{own.parent}]"
    assert main(sweep(directory, "-m", path, "experiment=mine", "seed=0")) == 0
    assert main(["resume", str(directory), "seed=1"]) == 2, "what a stored path holds is the user's to trust"
    assert main(["resume", str(directory), "seed=1", "--trust-code"]) == 0
    assert [job["config"]["save_seconds"] for job in jobs(directory)] == [77.0, 77.0]


def test_a_failing_job_stops_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "sweep"
    assert main(sweep(directory, "-m", "meta_learner.inner_lr=1e30,0.01")) == 1
    err = capfd.readouterr().err
    assert "job 0 (" in err
    assert "meta_learner.inner_lr=1e+30" in err
    assert "trials all failed" in err
    assert "Traceback" not in err
    assert [job["status"] for job in jobs(directory)] == ["failed", "done"]
    assert "trials all failed" in jobs(directory)[0]["reason"]
    assert main(["resume", str(directory)]) == 1
    assert "job 0 failed" in capfd.readouterr().err


def test_a_job_whose_parts_do_not_fit_fails_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "sweep"
    assert main(sweep(directory, "-m", "strategy.sample_size=99,2")) == 1
    assert "job 0" in capfd.readouterr().err
    assert [job["status"] for job in jobs(directory)] == ["failed", "done"]


def test_a_misspelt_sweep_begins_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "sweep"
    assert main(sweep(directory, "-m", "seed=0,-1")) == 2
    assert "seed: got -1" in capfd.readouterr().err
    assert not directory.exists()


def test_a_job_that_tunes_what_it_cannot_begins_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep"
    tune = "tune={optimizer.lr: [0.1,0.2]},{optimizer.lx: [1,2]}"
    assert main(sweep(directory, "-m", tune)) == 2
    assert "tune.optimizer.lx: cannot be tuned" in capfd.readouterr().err
    assert not directory.exists()


def test_a_sweep_takes_over_no_run(unbroken: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(unbroken / "0", tmp_path / "1")
    before = {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir() if path.is_file()}
    assert main(sweep(tmp_path, "-m", "seed=0,1", "budget.trials=3")) == 2
    assert f"{tmp_path / '1'}: already holds a run" in capfd.readouterr().err
    assert not (tmp_path / MANIFEST).exists()
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir() if path.is_file()}


@pytest.mark.parametrize(
    "overrides, told",
    [
        (["seed=0", "budget.trials=2,3", "hydra.sweep.subdir=seed${seed}"], "jobs 0 and 1 both get 'seed0'"),
        (["seed=range(0,0)"], "seed=range(0,0): gives no job"),
    ],
)
def test_jobs_that_cannot_be_told_apart_are_refused(
    overrides: list[str], told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(sweep(tmp_path / "sweep", "-m", *overrides)) == 2
    assert told in capfd.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_two_processes_on_one_sweep(unbroken: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with files.locked(unbroken / "sweep.lock", "sweep"):
        assert main(["resume", str(unbroken)]) == 2
    assert "sweep.lock" in capfd.readouterr().err
    assert main(["resume", str(unbroken)]) == 0


@pytest.mark.parametrize(
    "change,told",
    [
        ({"directory": "../elsewhere"}, "directory: "),
        ({"directory": "/tmp/elsewhere"}, "directory: "),
        ({"status": "lost"}, "status"),
        ({"number": -1}, "number"),
        ({"launcher": ["hydra.launcher._target_=os.system"]}, "launcher.0"),
        ({"launcher": ["hydra.launcher.setup=[false]"]}, "launcher.0"),
    ],
    ids=str,
)
def test_a_hostile_manifest_is_refused(
    unbroken: Path, tmp_path: Path, change: dict[str, Any], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads((unbroken / MANIFEST).read_text())
    (plan if "launcher" in change else plan["jobs"][1]).update(change)
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / MANIFEST).write_text(json.dumps(plan))
    assert main(["resume", str(tmp_path / "sweep")]) == 2
    err = capfd.readouterr().err
    assert f"{tmp_path / 'sweep' / MANIFEST}: " in err
    assert told in err
    assert {path.name for path in tmp_path.rglob("*")} == {"sweep", MANIFEST}


def test_a_manifest_names_no_code_outside_nasmeta(
    unbroken: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads((unbroken / MANIFEST).read_text())
    plan["jobs"] = plan["jobs"][:1]
    plan["jobs"][0].update(status="planned")
    plan["jobs"][0]["config"]["strategy"] = {"_target_": "os.system", "command": "false"}
    (tmp_path / MANIFEST).write_text(json.dumps(plan))
    assert main(["resume", str(tmp_path)]) == 1
    assert "strategy._target_: 'os.system'" in capfd.readouterr().err
