"""A finished run takes no other settings: nothing relabels what it has found."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.run import environment, summary
from nasmeta.run.composition import Composition
from nasmeta.run.journal import read
from nasmeta.runtime import files
from tests.cli.runs import TINY, search

KEPT = ("journal.jsonl", "best.pt", "summary.json", "config.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished") / "a run"
    assert search(directory) == 0
    return directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "a run"))


def contents(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in KEPT]


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "forced"])
@pytest.mark.parametrize(
    "override",
    ["seed=5", "budget.trials=3", "budget.valid_tasks=30", "task.shot=2", "strategy=random", "progress=true"],
)
def test_no_override_reaches_a_finished_run(
    run: Path, override: str, force: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    assert main(["resume", str(run), override, *force]) == 2
    err = capfd.readouterr().err
    assert f"{run}: " in err
    assert "--force" not in err
    assert f"nasmeta search {' '.join(o for o in TINY[:4])}" in err, "a new run is what it takes"
    assert err.strip().endswith(override)
    assert contents(run) == before


@pytest.mark.parametrize("damaged", [False, True])
def test_a_lost_configuration_is_made_again(damaged: bool, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "config.json").unlink()
    if damaged:
        (copy / "config.json").write_text("{")
    assert main(["resume", str(copy)]) == 0
    assert json.loads((copy / "config.json").read_text()) == json.loads((run / "config.json").read_text())


def test_an_override_that_changes_nothing_is_none(run: Path) -> None:
    before = contents(run)
    assert main(["resume", str(run), "seed=0"]) == 0
    assert contents(run) == before


@pytest.mark.parametrize(
    ("override", "environments", "journals"),
    [("seed=0", 0, 1), ("budget.test_tasks=40", 1, 2)],
    ids=["shown", "goes on"],
)
def test_what_a_run_was_is_looked_up_once(
    run: Path, override: str, environments: int, journals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a run that goes on reads its journal again, under its lock, and looks at the machine."""
    read_bytes, found, seen = files.read_bytes, environment.environment, list[str]()

    def spied(path: Path, *rest: Any, **more: Any) -> bytes:
        seen.append(path.name)
        return read_bytes(path, *rest, **more)

    def looked(composition: Composition) -> dict[str, Any]:
        seen.append("environment")
        return found(composition)

    monkeypatch.setattr(files, "read_bytes", spied)
    monkeypatch.setattr(environment, "environment", looked)
    assert main(["resume", str(run), override]) == 0
    assert seen.count("environment") == environments
    assert seen.count("journal.jsonl") == journals


def test_a_finished_run_is_shown_whatever_the_machine_has_become(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    monkeypatch.setattr(environment, "versions", lambda: {**summary.versions(), "torch": "0.0"})
    assert main(["resume", str(run)]) == 0
    assert "parameters" in capfd.readouterr().out
    assert contents(run) == before


def test_lost_files_are_made_again_by_other_means_but_under_no_other_setting(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (run / "best.pt").unlink()
    assert main(["resume", str(run), "seed=5", "--force"]) == 2
    assert "seed changed (0 -> 5)" in capfd.readouterr().err
    assert main(["resume", str(run), "progress=true"]) == 0
    assert (run / "best.pt").exists()
    assert '"progress": true' in (run / "config.json").read_text(), "it was used, so it is recorded"


def test_a_failed_run_does_not_take_settings_that_produce_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert search(run, "meta_learner.inner_lr=1e30") == 1
    before = (run / "journal.jsonl").read_bytes(), (run / "config.json").read_bytes()
    assert main(["resume", str(run), "meta_learner.inner_lr=0.01", "--force"]) == 1
    assert "trials all failed" in capfd.readouterr().err
    assert before == ((run / "journal.jsonl").read_bytes(), (run / "config.json").read_bytes())
    assert main(["resume", str(run), "meta_learner.inner_lr=0.01", "budget.trials=6", "--force"]) == 0
    lines, _ = read(run / "journal.jsonl")
    assert [r["config"]["meta_learner"]["inner_lr"] for r in lines if "config" in r] == [1e30, 0.01]
