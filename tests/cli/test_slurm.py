"""A sweep on Slurm: jobs run by themselves, and one that Slurm takes away goes on where it was.

`scripts/slurm` starts a Slurm of one node. It needs root and Debian's packages slurm-wlm and munge.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.kills import outcome, spawn
from tests.cli.runs import SHORT, jobs
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.extra("slurm"),
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("slurmctld") is None or os.geteuid() != 0, reason="no Slurm, or not root"
    ),
]

LONGER = ["save_seconds=0.2", "budget.search_iterations=500"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of commands that use a Slurm of this machine's own."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([ROOT / "scripts" / "slurm", "start", folder], check=True, timeout=60)
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
    subprocess.run([ROOT / "scripts" / "slurm", "stop", folder], check=True, timeout=60)


def asked(command: str, environment: dict[str, str]) -> str:
    done = subprocess.run(command.split(), env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_a_job_that_slurm_takes_away_goes_on(tmp_path: Path, slurm: dict[str, str]) -> None:
    directory = tmp_path / "sweep"
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.max_num_timeout=3"]
    command = ["search", *SHORT, *LONGER, f"hydra.sweep.dir={directory}", "-m", "seed=0,1", *launcher]
    log = (tmp_path / "log").open("w")
    sweep = subprocess.Popen([sys.executable, "-m", "nasmeta", *command], env=slurm, stdout=log, stderr=log)
    wait_for(directory / "0" / "checkpoints" / "search-00000.pt")
    (first,) = [
        line for line in asked("squeue --noheader --format %F_%K", slurm).split() if line.endswith("_0")
    ]
    asked(f"scancel --signal=USR2 {first}", slurm)
    while "PD" not in asked(f"squeue --noheader --format %t --jobs {first}", slurm):
        time.sleep(0.1)
    asked(f"scontrol update JobId={first} StartTime=now", slurm)  # Slurm waits for two minutes
    assert sweep.wait(120) == 0, (tmp_path / "log").read_text()
    assert {job["status"] for job in jobs(directory)} == {"done"}
    events = (directory / "0" / "journal.jsonl").read_text()
    assert '"event":"resumed"' in events
    alone = tmp_path / "alone"
    assert spawn(["search", *SHORT, *LONGER, "seed=0", f"hydra.run.dir={alone}"]) == 0
    assert outcome(directory / "0") == outcome(alone)


def test_a_sweep_that_is_gone_is_resumed_by_slurm(tmp_path: Path, slurm: dict[str, str]) -> None:
    """Both the command and its jobs are killed."""
    directory, launcher = tmp_path / "sweep", "hydra/launcher=submitit_slurm"
    command = ["search", *SHORT, *LONGER, f"hydra.sweep.dir={directory}", "-m", "seed=0,1", launcher]
    sweep = subprocess.Popen([sys.executable, "-m", "nasmeta", *command], env=slurm)
    wait_for(directory / "0" / "checkpoints" / "search-00000.pt")
    sweep.kill()
    asked("scancel --signal=KILL --full --state=RUNNING", slurm)
    asked("scancel --state=PENDING", slurm)
    while asked("squeue --noheader", slurm):
        time.sleep(0.1)
    assert {job["status"] for job in jobs(directory)} == {"running", "planned"}
    resumed = [sys.executable, "-m", "nasmeta", "resume", str(directory), launcher]
    subprocess.run(resumed, env=slurm, check=True, timeout=120)
    assert {job["status"] for job in jobs(directory)} == {"done"}
    alone = tmp_path / "alone"
    assert spawn(["search", *SHORT, *LONGER, "seed=0", f"hydra.run.dir={alone}"]) == 0
    assert outcome(directory / "0") == outcome(alone)
