"""In a stranger's folder, no process of nasmeta imports a module of the stranger."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.runs import SHORT
from tests.conftest import ROOT

SHADOWED = [
    "pickle",
    "socket",
    "struct",
    "logging",
    "json",
    "multiprocessing",
    "torch",
    "numpy",
    "yaml",
    "argparse",
]
"""Names of modules that workers and the command itself import."""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder of modules that make the file `ran` if they are imported."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    for name in SHADOWED:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write('{name}')\n")
    (folder / "hydra_plugins" / "evil").mkdir(parents=True)
    shutil.copy(folder / "pickle.py", folder / "hydra_plugins" / "evil" / "__init__.py")
    return folder


def run(folder: Path, *command: str, path: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Runs a command as a user who has nasmeta, and `path` on PYTHONPATH, but no PYTHONSAFEPATH."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment = kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The command `nasmeta` as pip writes it. Python puts its folder on the path, not the current one."""
    path = tmp_path / "bin" / "nasmeta"
    path.parent.mkdir()
    path.write_text(
        "import sys\nfrom nasmeta.cli.main import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    )
    return path


@pytest.mark.parametrize("module", ["nasmeta", "nasmeta.cli.main"])
def test_python_m(planted: Path, module: str) -> None:
    """Imports that Python makes before it finds nasmeta cannot be prevented; see docs/security.md."""
    done = run(planted, sys.executable, "-m", module, "search", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert not (planted / "ran").exists(), (planted / "ran").read_text()


WORKERS = [
    pytest.param(
        ["executor=process", "executor.workers=1", "evaluator._target_=mine.Mine"],  # in the worker, too
        id="process",
    ),
    pytest.param(["executor=ray", "executor.address=local"], id="ray", marks=pytest.mark.extra("ray")),
    pytest.param(
        ["-m", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
        id="joblib",
        marks=pytest.mark.extra("joblib"),
    ),
    pytest.param(
        ["-m", "seed=0", "hydra/launcher=submitit_local"], id="submitit", marks=pytest.mark.extra("slurm")
    ),
]


@pytest.mark.parametrize("options", WORKERS)
def test_workers(planted: Path, script: Path, options: list[str]) -> None:
    """A module of the user's own, on PYTHONPATH, is found."""
    own = planted.parent / "own"
    own.mkdir()
    (own / "mine.py").write_text(
        "from nasmeta.evaluators.scratch import Scratch\nclass Mine(Scratch): pass\n"
    )
    directories = ["hydra.run.dir=run", "hydra.sweep.dir=run"]
    done = run(planted, sys.executable, str(script), "search", *SHORT, *directories, *options, path=own)
    assert done.returncode == 0, done.stderr
    assert list((planted / "run").rglob("summary.json"))
    assert not (planted / "ran").exists(), (planted / "ran").read_text()
