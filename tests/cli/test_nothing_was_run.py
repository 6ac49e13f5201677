"""Input that is found wrong when data is loaded or networks are counted: one line, and nothing left."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from nasmeta.cli import output
from nasmeta.cli.main import main
from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.image_folder import ImageFolder
from nasmeta.task import Split
from tests.cli.runs import SHORT, jobs, search

IMAGES = [
    "dataset=image_folder",
    "dataset.size=8",
    "dataset.min_images=2",
    "dataset.cache=null",
    "search_space=conv_small",
    "device=cpu",
    "logger=none",
    "progress=false",
    "task.way=2",
    "task.query=1",
    "task.meta_batch=1",
    "budget.trials=1",
    "budget.search_iterations=1",
    "budget.final_candidates=1",
    "budget.final_iterations=1",
    "budget.valid_tasks=2",
    "budget.final_tasks=2",
    "budget.test_tasks=2",
    "strategy=random",
]


@pytest.fixture
def damaged(images: Path) -> Path:
    """A folder of images, one of the test split cut off."""
    file = next((images / "test").rglob("*.png"))
    file.write_bytes(file.read_bytes()[:40])
    return file


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "images"
    for number in range(3 * 2 * 3):
        split, kind = ("train", "val", "test")[number // 6], number // 3 % 2
        file = folder / split / f"{split}{kind}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").rotate(90 * kind).resize((12 + number, 12)).save(file)
    return folder


def one_line(capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    assert not out
    (line,) = err.splitlines()
    return line


@pytest.mark.parametrize("mode", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_damaged_image(mode: list[str], damaged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["search", *IMAGES, f"dataset.root={damaged.parents[2]}", *mode]) == 2
    assert str(damaged) in one_line(capfd)
    assert not Path("outputs").exists()


def test_a_damaged_image_stops_no_job_that_does_without(
    damaged: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grid = ["-m", "dataset.root=images,elsewhere", "hydra.sweep.dir=sweep"]
    assert main(["search", *IMAGES, *grid]) == 1
    assert [job["status"] for job in jobs(Path("sweep"))] == ["failed", "failed"]
    reasons = [job["reason"] for job in jobs(Path("sweep"))]
    assert str(damaged) in reasons[0]
    assert "elsewhere" in reasons[1]
    assert "Error executing job" not in capfd.readouterr().err


def test_what_was_loaded_to_be_checked_is_not_loaded_again(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, times = ImageFolder._load, list[int]()

    def counted(self: ImageFolder, split: Split) -> Mapping[Split, ImageTable]:
        times.append(1)
        return load(self, split)

    monkeypatch.setattr(ImageFolder, "_load", counted)
    assert main(["search", *IMAGES, "dataset.root=images", "hydra.run.dir=run"]) == 0
    loaded = len(times)
    assert loaded in (1, 3), "all splits at once, or one after the other"
    assert main(["search", *IMAGES, "dataset.root=images", "hydra.sweep.dir=sweep", "-m", "seed=0"]) == 0
    assert len(times) == 2 * loaded


def test_constraints_that_nothing_can_meet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    few = ["search_space.max_layers=1", "search_space.widths=[8]"]  # to count
    assert search(tmp_path / "run", "constraints.max_params=1", *few) == 2
    assert "constraints.max_params=1, the least is " in one_line(capfd)
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_says_so_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path / "run", "meta_learner.inner_lr=1e30") == 1
    err = capfd.readouterr().err
    assert "Error executing job" not in err
    assert err.splitlines()[-1].startswith("nasmeta: ")


def test_a_sweep_of_the_same_second_has_its_jobs_in_its_own_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(output, "make_new", make_second)
    assert main(["search", *SHORT, "-m", "seed=0"]) == 0
    (manifest,) = tmp_path.rglob("sweep.json")
    assert manifest.parent.name.endswith("-1")
    assert json.loads(manifest.read_text())["jobs"][0]["status"] == "done"
    assert [path.parents[1] for path in tmp_path.rglob("summary.json")] == [manifest.parent]


def make_second(directory: Path) -> Path:
    second = directory.with_name(f"{directory.name}-1")
    second.mkdir(parents=True)
    return second
