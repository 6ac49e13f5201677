"""What data a run is about: the same for equal images wherever they lie, another for any other image."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.datasets import contents
from nasmeta.datasets.base import Dataset, EpisodeSampler
from nasmeta.datasets.contents import Contents, SplitContents
from nasmeta.datasets.decode import ImageReader
from nasmeta.datasets.image_folder import ImageFolder
from nasmeta.datasets.sinusoid import Sinusoid, SinusoidSampler
from nasmeta.datasets.strokes import Strokes
from nasmeta.task import SPLITS, Split, TaskBatch
from tests.datasets.pictures import save
from tests.datasets.test_image_folder import OPTIONS, fill


def of(root: Path, **changes: Any) -> Contents:
    """The contents of an image folder with options of the tests."""
    dataset = ImageFolder(root=str(root), **{**OPTIONS, **changes})
    return {split: dataset.contents(split) for split in SPLITS}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, first in (("train", 0), ("val", 4), ("test", 6)):
        fill(tmp_path / "images" / split, 2, first=first)
    return tmp_path / "images"


def test_contents_name_classes_and_count_images(root: Path) -> None:
    save(root / "val" / "class 05" / "more.png", 9)
    found = of(root)
    assert found["train"].classes == ("class 00", "class 01")
    assert {split: each.images for split, each in found.items()} == {"train": 6, "valid": 7, "test": 6}
    assert len({each.fingerprint for each in found.values()}) == 3


def test_what_is_touched_copied_moved_or_cached_is_the_same(root: Path, tmp_path: Path) -> None:
    before = of(root)
    cached = {"cache": str(tmp_path / "cache")}
    assert of(root, **cached) == before
    assert of(root, **cached) == before, "read from the cache"
    for file in root.rglob("*.png"):
        os.utime(file, (1, 1))
    assert of(root, **cached) == before
    shutil.copytree(root, tmp_path / "copy")
    assert of(tmp_path / "copy", **cached) == before
    root.rename(tmp_path / "elsewhere")
    assert of(tmp_path / "elsewhere") == before


def test_any_replaced_image_changes_its_split_alone(root: Path) -> None:
    before = of(root)
    for split, name in (("train", "train"), ("valid", "val"), ("test", "test")):
        file = sorted((root / name).rglob("*.png"))[-1]
        original = file.read_bytes()
        save(file, 250)
        assert contents.changes(before, of(root)) == {split: "its 6 images are not the same"}
        file.write_bytes(original)
    assert contents.changes(before, of(root)) == {}


def test_images_that_change_places_are_a_change(root: Path) -> None:
    before = of(root)
    first, second = sorted((root / "train").rglob("*.png"))[2:4]  # the last of a class, the first of the next
    held = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(held)
    assert contents.changes(before, of(root)) == {"train": "its 6 images are not the same"}


def test_an_image_that_moves_to_the_next_class_is_a_change(root: Path) -> None:
    """All pixels stay in order: the numbers of images differ."""
    before = of(root, min_images=1)
    (root / "train" / "class 01" / "0.png").rename(root / "train" / "class 00" / "9.png")
    assert contents.changes(before, of(root, min_images=1)) == {"train": "its 6 images are not the same"}


def test_classes_and_images_that_come_and_go_are_named(root: Path) -> None:
    before = of(root)
    (root / "train" / "class 00").rename(root / "test" / "class 00")
    (root / "test" / "class 07" / "0.png").unlink()
    changed = contents.changes(before, of(root))
    assert changed["train"] == "gone: 'class 00', 6 -> 3 images"
    assert changed["test"] == "new: 'class 00', 6 -> 8 images"


def test_each_split_is_decoded_and_cached_by_itself(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    read = ImageReader.read_one
    monkeypatch.setattr(
        ImageReader,
        "read_one",
        lambda self, path, name: decoded.append(path.parts[-3]) or read(self, path, name),
    )
    cached = {"cache": str(tmp_path / "cache")}
    of(root, **cached)
    assert sorted(decoded) == ["test"] * 6 + ["train"] * 6 + ["val"] * 6
    decoded.clear()
    save(root / "train" / "class 00" / "0.png", 251)
    of(root, **cached)
    assert decoded == ["train"] * 6


def test_a_message_is_short_however_many_classes_there_are() -> None:
    before: Contents = {"train": SplitContents(tuple(f"old {i}" for i in range(1000)), 9000, "a")}
    now: Contents = {
        "train": SplitContents(tuple(f"\x1b[31m{i}" + "x" * 500 for i in range(1000)), 9000, "b")
    }
    text = contents.changes(before, now)["train"]
    assert len(text) < 600
    assert "and 995 more" in text
    assert text.isprintable()


STROKES: dict[str, Any] = {
    "train_classes": 6,
    "valid_classes": 5,
    "test_classes": 5,
    "examples": 2,
    "size": 8,
    "distortion": 0.5,
    "seed": 0,
}


@pytest.mark.parametrize("option", ["train_classes", "examples", "size", "distortion", "seed"])
def test_drawn_characters_are_told_by_their_options(option: str) -> None:
    first, again = (Strokes(**STROKES).contents("train") for _ in range(2))
    assert first == again
    assert (len(first.classes), first.images) == (6, 12)
    changed = Strokes(**{**STROKES, option: STROKES[option] + 1}).contents("train")
    assert changed.fingerprint != first.fingerprint


def test_nothing_is_drawn_to_say_what_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Strokes, "_load", lambda self, split: pytest.fail("drawn"))
    Strokes(**STROKES).contents("test")


SINUSOID = {"amplitude_min": 0.1, "amplitude_max": 5.0, "phase_max": 3.0, "x_min": -5.0, "x_max": 5.0}


def test_sine_waves_are_told_by_their_ranges() -> None:
    first = Sinusoid(**SINUSOID).contents("train")
    assert Sinusoid(**SINUSOID).contents("train") == first
    assert Sinusoid(**{**SINUSOID, "x_max": 6.0}).contents("train") != first
    assert Sinusoid(**SINUSOID).contents("test") != first


class Mine(Sinusoid):
    """A dataset that a user wrote, who said nothing of its contents."""

    contents = Dataset.contents
    shift = 0.0

    def sampler(self, split: Split, **options: Any) -> "_Shifted":
        return _Shifted(super().sampler(split, **options), self.shift)


class _Shifted(EpisodeSampler):
    def __init__(self, inner: SinusoidSampler, shift: float) -> None:
        self.inner, self.shift = inner, shift

    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        batch = self.inner.batch(iteration, tasks)
        return batch._replace(query_y=batch.query_y + self.shift)


def test_a_dataset_of_a_users_own_is_told_by_its_first_tasks() -> None:
    first = Mine(**SINUSOID).contents("valid")
    assert Mine(**SINUSOID).contents("valid") == first
    other = Mine(**SINUSOID)
    other.shift = 0.5
    assert contents.changes({"valid": first}, {"valid": other.contents("valid")}) == {"valid": "other data"}


def test_plain_values_are_read_back() -> None:
    before: Contents = {
        "test": SplitContents(("a", "b\udcff"), 3, "0f"),
        "train": SplitContents((), None, ""),
    }
    assert contents.read(contents.plain(before)) == before
    assert contents.read({}) == {}


@pytest.mark.parametrize(
    "values, key",
    [
        ([], ""),
        ({"x" * 100_000: {"classes": []}}, "xxx"),
        ({"dev": {"classes": [], "images": 1, "fingerprint": ""}}, "dev"),
        ({"train": {"classes": ["a", 3], "images": 1, "fingerprint": ""}}, "train.classes"),
        ({"train": {"classes": "ab", "images": 1, "fingerprint": ""}}, "train.classes"),
        ({"train": {"classes": [], "images": -1, "fingerprint": ""}}, "train.images"),
        ({"train": {"classes": [], "images": torch.zeros(1), "fingerprint": ""}}, "train.images"),
        ({"train": {"classes": [], "images": 1, "fingerprint": "x" * 1000}}, "train.fingerprint"),
        ({"train": {"classes": [], "images": 1}}, "train.fingerprint"),
        ({"train": {"classes": ["x" * 200_000], "images": 1, "fingerprint": ""}}, "train.classes"),
    ],
)
def test_values_that_no_run_wrote_are_refused(values: Any, key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}") as refused:
        contents.read(values)
    assert len(str(refused.value)) < 300
