"""A resume under other settings says what changed: harmless changes pass, others need --force."""

import json
import os
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.cli.main import main
from nasmeta.config.schema import parse
from nasmeta.errors import DataError
from nasmeta.networks.execution import Execution
from nasmeta.reporting.read.load import load_run
from nasmeta.run import environment, summary
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.journal import Journal, read
from nasmeta.run.rebuild import fingerprints, rebuild
from nasmeta.training import checkpoint
from tests.cli.kills import spawn
from tests.cli.runs import SAVED
from tests.datasets.pictures import save
from tests.datasets.test_image_folder import fill


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("killed") / "run"
    assert spawn(["search", *SAVED, f"hydra.run.dir={directory}"], 18) == -signal.SIGKILL
    return directory


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_once, tmp_path / "run"))


def test_harmless_changes_are_named_and_pass(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = killed / "config.json"
    config.write_text(config.read_text().replace('"save_seconds": 0', '"save_seconds": 5'))
    assert main(["resume", str(killed), "progress=true"]) == 0
    assert "progress changed (False -> True)" in caplog.text
    assert "save_seconds changed (0.0 -> 5.0)" in caplog.text


@pytest.mark.parametrize("override", ["seed=3", "strategy=random", "budget.trials=1"])
def test_what_the_strategy_proposes_by_cannot_change(
    killed: Path, override: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (killed / "journal.jsonl").read_bytes()
    assert main(["resume", str(killed), override]) == 2
    err = capfd.readouterr().err
    assert f"{killed}: " in err
    assert override.split("=")[0] in err
    assert "--force" not in err, "it does not help"
    assert main(["resume", str(killed), override, "--force"]) == 2
    assert f"{killed / 'journal.jsonl'}: " in capfd.readouterr().err
    assert (killed / "journal.jsonl").read_bytes() == before, "a refused resume writes nothing"


def test_forced_changes_are_recorded(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["resume", str(killed), "budget.test_tasks=40", "--force"]) == 0
    assert "budget.test_tasks changed (20 -> 40)" in caplog.text
    records, _ = read(killed / "journal.jsonl")
    assert [r["config"]["budget"]["test_tasks"] for r in records if "config" in r] == [20, 40]


@pytest.mark.parametrize("name", ["nasmeta", "torch", "numpy"])
def test_other_versions_are_named(
    killed: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    others = {**summary.versions(), name: "0.0"}
    monkeypatch.setattr(environment, "versions", lambda: others)
    assert main(["resume", str(killed)]) == 2
    assert f"versions.{name} changed (" in capfd.readouterr().err
    assert main(["resume", str(killed), "--force"]) == 0


def test_another_device_is_named(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same: dict[str, Any] = {"config": {"seed": 0}, "versions": {}, "device": "cpu", "threads": 1}
    assert environment.changes(same, same) == {}
    assert environment.changes(same, {**same, "device": "cuda"}) == {"device": "cpu -> cuda"}


def test_what_auto_stands_for_may_be_named(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["resume", str(killed), "kernels=torch", "precision=auto"]) == 0
    assert "kernels changed (auto -> torch)" in caplog.text
    assert "precision changed (fp32 -> auto)" in caplog.text


def test_another_precision_is_named(killed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(killed), "precision=bf16"]) == 2
    assert "execution.precision changed (fp32 -> bf16)" in capfd.readouterr().err


def test_auto_that_stands_for_something_else_is_named(
    killed: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same configuration on the same GPU, from which Triton was removed, or to which it was added."""
    used = {"kernels": "triton", "precision": "fp32"}
    monkeypatch.setattr(Execution, "in_use", lambda self, device: used)
    assert main(["resume", str(killed)]) == 2
    assert "execution.kernels changed (torch -> triton)" in capfd.readouterr().err
    assert main(["resume", str(killed), "--force"]) == 0
    written = json.loads((killed / "summary.json").read_text())
    assert written["execution"] == used
    assert written["settings_changed"] == ["execution.kernels: torch -> triton"]


def test_a_run_that_recorded_nothing_is_not_held_to_it(killed: Path) -> None:
    """Runs of earlier versions."""
    path = killed / "journal.jsonl"
    records, _ = read(path)
    path.unlink()
    with Journal(path) as journal:
        for record in records:
            kept = {k: v for k, v in record.items() if k not in ("v", "event", "config", "versions")}
            journal.append(record["event"], **kept)
    assert main(["resume", str(killed)]) == 0


IMAGES = [
    "dataset=image_folder",
    "dataset.size=8",
    "dataset.min_images=2",
    "dataset.cache=null",
    "search_space=conv",
    "search_space.widths=[4]",
    "search_space.max_blocks=2",
    "search_space.min_downsamples=1",
    "search_space.max_downsamples=1",
    "meta_learner=protonet",
    "task.way=2",
    "task.shot=1",
    "task.query=1",
]


@pytest.fixture(scope="module")
def killed_on_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images` and with `run`, which was killed after its first trials."""
    folder = tmp_path_factory.mktemp("images")
    for split, first in (("train", 0), ("val", 3), ("test", 6)):
        fill(folder / "images" / split, 3, first=first)
    kept = [
        o for o in SAVED if "=" in o and not o.startswith(("dataset", "search_space", "meta_learner", "task"))
    ]
    arguments = [
        "search",
        *kept,
        *IMAGES,
        f"dataset.root={folder / 'images'}",
        f"hydra.run.dir={folder / 'run'}",
    ]
    assert spawn(arguments, 18) == -signal.SIGKILL
    return folder


@pytest.fixture
def folder(killed_on_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, of which the run still names the original's images by their path."""
    shutil.copytree(killed_on_images, tmp_path / "copy")
    return tmp_path / "copy"


def resume(folder: Path, *options: str) -> int:
    """Under the images in `folder`."""
    return main(["resume", str(folder / "run"), f"dataset.root={folder / 'images'}", *options])


def test_a_moved_folder_of_images_is_no_other_data(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for file in (folder / "images").rglob("*.png"):
        os.utime(file)
    assert resume(folder) == 0
    assert "dataset.root changed" in caplog.text
    data = [r["data"] for r in read(folder / "run" / "journal.jsonl")[0] if "data" in r]
    assert len(data) == 2
    assert data[0] == data[1]
    assert data[0]["valid"]["classes"] == ["class 03", "class 04", "class 05"]
    assert data[0]["valid"]["images"] == 9
    assert checkpoint.load(folder / "run" / "best.pt")["data"] == data[0]


@pytest.mark.parametrize(
    "split, replaced, change",
    [
        ("train", "train/class 00/0.png", "data.train changed (its 9 images are not the same)"),
        ("valid", "val/class 03/9.png", "data.valid changed (9 -> 10 images)"),
        ("test", "test/class 99/0.png", "data.test changed (new: 'class 99', 9 -> 10 images)"),
    ],
)
def test_other_images_are_named_and_need_force(
    folder: Path,
    split: str,
    replaced: str,
    change: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    save(folder / "images" / replaced, 255)
    if "99" in replaced:
        save(folder / "images" / "test/class 99/1.png", 255)
        change = change.replace("10", "11")
    before = (folder / "run" / "journal.jsonl").read_bytes()
    assert resume(folder) == 2
    err = capfd.readouterr().err
    assert change in err
    assert "--force" in err
    assert "dataset.root" in err, "which may be why"
    assert (folder / "run" / "journal.jsonl").read_bytes() == before
    assert resume(folder, "--force") == 0
    assert change in caplog.text


def test_data_that_no_run_recorded_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "run" / "journal.jsonl"
    records, _ = read(path)
    path.unlink()
    with Journal(path) as journal:
        for record in records:
            if "data" in record:
                record["data"]["train"]["classes"] = [{"a": 1}]
            journal.append(record["event"], **{k: v for k, v in record.items() if k not in ("v", "event")})
    assert resume(folder) == 2
    assert "train.classes" in capfd.readouterr().err


def test_a_worker_that_sees_other_images_ends_the_run(folder: Path) -> None:
    config = RunDirectory(folder / "run").load_config()
    config["dataset"]["root"] = str(folder / "images")
    checked = parse(config, trusted=True)
    seen = fingerprints(Composition.of(checked))
    judge: Any = rebuild(checked, seen, "cpu:0")
    assert judge.__self__.problem.device == torch.device("cpu:0")
    save(folder / "images" / "val" / "class 03" / "0.png", 255)
    with pytest.raises(DataError, match="valid data"):
        rebuild(checked, seen, "cpu")


@pytest.mark.parametrize("kill_at", [2, 3, 9])  # before the configuration's file is replaced, and after
def test_forced_settings_become_the_runs_own(killed: Path, kill_at: int) -> None:
    """However often it is interrupted, the plain command goes on with them."""
    forced = ["resume", str(killed), "budget.valid_tasks=30", "budget.final_tasks=40", "--force"]
    assert spawn(forced, kill_at) == -signal.SIGKILL
    assert spawn(["resume", str(killed)]) == 0
    stored = json.loads((killed / "config.json").read_text())
    best = checkpoint.load(killed / "best.pt")["config"]
    lines, _ = read(killed / "journal.jsonl")
    journalled = [r["config"] for r in lines if "config" in r][-1]
    run = load_run(killed)
    for config in (stored, best, journalled, run.config):
        assert (config["budget"]["valid_tasks"], config["budget"]["final_tasks"]) == (30, 40)
    assert run.summary is not None
    changed = {"budget.valid_tasks: 20 -> 30", "budget.final_tasks: 20 -> 40"}
    assert set(run.summary["settings_changed"]) == changed
    assert run.command is not None
    assert run.command.overrides[-2:] == ("budget.valid_tasks=30", "budget.final_tasks=40")
    assert "budget.valid_tasks=20" not in run.command.overrides


def test_the_refusal_prints_what_goes_on_all_the_same(
    killed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", str(killed), "budget.valid_tasks=40"]) == 2
    command = capfd.readouterr().err.strip().partition("resume anyway with: ")[2]
    assert main(shlex.split(command)[1:]) == 0


def test_an_experiment_changes_no_stored_configuration(
    killed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for override in ("experiment=rea", "seed=1,2", "~seed"):
        assert main(["resume", str(killed), override, "--force"]) == 2
        assert f"{override}: only key=value" in capfd.readouterr().err
