"""The checkpoints that come with the package."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from nasmeta.cli.main import main
from nasmeta.errors import CheckpointError
from nasmeta.trained import ready
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.training.trained_network import TrainedNetwork

NAMES = sorted(ready.index())


def shape(name: str, number: int) -> Image.Image:
    """A circle or a cross in grey, at a place and of a size that the number says."""
    picture = Image.new("L", (60, 60), "white")
    draw, a, b = ImageDraw.Draw(picture), 8 + 2 * number, 48 + number
    if name == "circle":
        draw.ellipse((a, a, b, b), outline="black", width=5)
    else:
        draw.line((a, a, b, b), fill="black", width=5)
        draw.line((a, b, b, a), fill="black", width=5)
    return picture


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with three pictures of two classes, and another picture of each."""
    for name in ("circle", "cross"):
        for number in range(4):
            folder = tmp_path / ("mine" if number < 3 else "new") / name
            folder.mkdir(parents=True, exist_ok=True)
            shape(name, number).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_what_the_index_says_is_true(name: str) -> None:
    entry, path = ready.index()[name], ready.FOLDER / f"{name}.pt"
    network = TrainedNetwork.load(path, trusted=False)
    assert (entry["arch"], entry["bytes"]) == (network.arch, path.stat().st_size)
    assert entry["params"] == sum(value.numel() for value in network.parameters.values())
    assert not network.provisional
    assert network.calibration is not None
    assert network.calibration.threshold is not None
    assert {(row["way"], row["shot"]) for row in entry["accuracy"]} == {
        (w, s) for w in (2, 5, 20) for s in (1, 5)
    }
    assert all(1 / row["way"] < row["accuracy"] <= 1 for row in entry["accuracy"])
    assert not set(network.data["train"].classes) & set(network.data["test"].classes)
    assert "/" not in json.dumps(network.config["dataset"])
    network.state(torch.device("cpu"))


@pytest.mark.parametrize("name", NAMES)
def test_their_architecture_is_trained_on_other_data(name: str, tmp_path: Path) -> None:
    data = ["dataset=strokes", "dataset.size=28", "dataset.train_classes=30"]
    budget = [
        f"budget.{each}" for each in ("final_iterations=1", "valid_tasks=2", "final_tasks=2", "test_tasks=2")
    ]
    quiet = ["logger=none", "progress=false", f"hydra.run.dir={tmp_path / 'run'}"]
    assert main(["train", name, *data, *budget, *quiet]) == 0
    trained = TrainedNetwork.load(tmp_path / "run" / "best.pt", trusted=False)
    assert trained.arch == ready.index()[name]["arch"]
    assert trained.iterations == 1


def test_together_they_are_small() -> None:
    assert {path.name for path in ready.FOLDER.iterdir()} == {"index.json", *(f"{name}.pt" for name in NAMES)}
    assert sum(path.stat().st_size for path in ready.FOLDER.iterdir()) < 600_000


def test_two_classes_of_three_pictures_are_enough(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "symbols", "--support", "mine", "--query", "new", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[1] for line in lines] == ["label", "circle", "cross"]


def test_a_bare_name_is_the_ready_one_and_a_path_is_a_path(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move("mine", "symbols")
    assert main(["predict", "symbols", "--support", "symbols", "--query", "new", "--device", "cpu"]) == 0
    assert ready.checkpoint_path("symbols") == ready.FOLDER / "symbols.pt"
    assert ready.checkpoint_path("./symbols") == Path("symbols")
    images = [np.asarray(shape(name, 0)) for name in ("circle", "cross")]
    assert FewShotClassifier("symbols", device="cpu").fit(images, [1, 2]).predict(images).tolist() == [1, 2]
    with pytest.raises(CheckpointError, match=r"symbols: holds no best\.pt"):
        FewShotClassifier(Path("symbols"), device="cpu").fit(images, [1, 2])


def test_a_wrong_name_is_answered_by_the_nearest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "symbls", "--support", "mine", "--query", "new"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert "symbls" in error[0]
    assert "'symbols'" in error[0]


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "checkpoints"]) == 0
    text = capsys.readouterr().out
    for name, entry in ready.index().items():
        assert name in text
        assert entry["licences"][0] in text
        assert f"20-way 5-shot {100 * entry['accuracy'][-1]['accuracy']:.1f} %" in text
    assert main(["list"]) == 0
    assert "symbols" in capsys.readouterr().out.split("checkpoints\n")[1]
