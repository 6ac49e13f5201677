import time

import numpy as np
import pytest
import torch
from PIL import Image

from nasmeta.datasets.stroke_programs import FAMILY, family
from nasmeta.datasets.strokes import Strokes
from nasmeta.errors import ConfigError
from nasmeta.task import SPLITS, TaskSpec

SMALL = {
    "train_classes": 12,
    "valid_classes": 10,
    "test_classes": 7,
    "examples": 6,
    "size": 28,
    "distortion": 1.0,
    "seed": 0,
}


@pytest.fixture(autouse=True)
def _drawn_every_time(monkeypatch):
    """Unlike in other tests, see tests/shortcuts.py."""
    monkeypatch.setattr(Strokes, "_load", Strokes._load.__wrapped__)


def test_same_seed_same_images_other_seed_others():
    first, again = Strokes(**SMALL), Strokes(**SMALL)
    other = Strokes(**{**SMALL, "seed": 1})
    for split in SPLITS:
        assert torch.equal(first.table(split).images, again.table(split).images)
        assert not torch.equal(first.table(split).images, other.table(split).images)


def test_more_classes_leave_the_others_as_they_are():
    few, many = Strokes(**SMALL), Strokes(**{**SMALL, "train_classes": 25})
    assert torch.equal(few.table("train").images, many.table("train").images[: 12 * 6])


def test_tables_hold_what_was_asked_for():
    dataset = Strokes(**SMALL)
    for split, classes in (("train", 12), ("valid", 10), ("test", 7)):
        table = dataset.table(split)
        assert table.images.shape == (classes * 6, 1, 28, 28)
        assert table.images.dtype == torch.uint8
        assert table.counts.tolist() == [6] * classes
        assert dataset.num_classes(split) == classes
        assert dataset.examples_per_class(split) == 6
    assert dataset.task_spec(5) == TaskSpec("classification", (1, 28, 28), 5, 12)


def test_splits_share_no_class():
    dataset = Strokes(**{**SMALL, "distortion": 0.0})
    names = [name for split in SPLITS for name in dataset.table(split).names]
    assert len(set(names)) == len(names) == 29
    pictures = torch.cat([dataset.table(split).images[::6] for split in SPLITS]).flatten(1)
    assert len(torch.unique(pictures, dim=0)) == 29


def test_without_distortion_the_examples_of_a_class_are_identical():
    images = Strokes(**{**SMALL, "distortion": 0.0}).table("train").images.unflatten(0, (12, 6))
    assert torch.equal(images, images[:, :1].expand_as(images))


def test_more_distortion_tears_a_class_apart():
    spread = []
    for distortion in (0.3, 0.6, 1.2):
        images = Strokes(**{**SMALL, "distortion": distortion}).table("train").images
        spread.append(images.unflatten(0, (12, 6)).float().std(1).mean())
    assert spread[0] < spread[1] < spread[2]


def chord(stroke):
    """The direction from a stroke's start to its end: what moving and scaling a character leaves as it is."""
    difference = stroke[3] - stroke[0]
    return difference / np.linalg.norm(difference)


def test_a_family_differs_in_one_stroke():
    programs = family(0, "train", 3)
    assert len(programs) == FAMILY
    parent = [chord(stroke) for stroke in programs[0]]
    for child in programs[1:]:
        assert len(child) == len(parent)
        kept = [min(np.abs(chord(stroke) - other).max() for other in parent) < 1e-9 for stroke in child]
        assert sum(kept) == len(parent) - 1


def test_characters_look_like_ink_on_paper():
    """Ink covers a part of every picture, most pixels are ink or paper, and most characters are inside."""
    images = Strokes(**SMALL).table("train").images[:, 0].float() / 255
    covered = images.mean((1, 2))
    assert covered.min() > 0.01
    assert covered.max() < 0.5
    assert ((images < 0.05) | (images > 0.95)).float().mean() > 0.85
    border = torch.cat([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1)
    assert border.mean() < images.mean() / 2


def test_a_larger_picture_shows_the_same():
    small, large = (Strokes(**{**SMALL, "size": size}).table("test").images.float() for size in (28, 56))
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    assert (shrunk - small).abs().mean() / 255 < 0.03


def test_a_quarter_of_the_default_classes_is_drawn_in_two_seconds():
    dataset = Strokes(**{**SMALL, "train_classes": 150, "examples": 20})
    start = time.process_time()
    dataset.table("train")
    assert time.process_time() - start < 2  # about 0.4 on the machine this was written on


def test_tasks_too_large_for_a_split_are_refused():
    dataset = Strokes(**SMALL)
    options = {"seed": 0, "device": torch.device("cpu")}
    with pytest.raises(ConfigError, match=r"task\.way: 8 .*test .* 7; "):
        dataset.sampler("test", way=8, shot=1, query=1, **options)
    with pytest.raises(ConfigError, match=r"task\.shot: 6 .*task\.shot=5"):
        dataset.sampler("test", way=2, shot=6, query=1, **options)
    assert dataset.sampler("test", way=2, shot=3, query=4, **options).batch(0, 1).query_x.shape[1] == 2 * 3


def test_samplers_of_a_split_share_the_pixels():
    dataset = Strokes(**SMALL)
    options = {"way": 2, "shot": 1, "query": 1, "device": torch.device("cpu")}
    one, two = (dataset.sampler("train", seed=seed, **options) for seed in (0, 1))
    assert one._pixels.data_ptr() == two._pixels.data_ptr() == dataset.table("train").images.data_ptr()


def test_prediction_sees_what_training_saw(tmp_path):
    """An example saved as dark ink on light paper, or light on dark, is read back as the same pixels."""
    dataset = Strokes(**SMALL)
    image = dataset.table("test").images[0]
    for name, pixels in (("dark.png", 255 - image[0]), ("light.png", image[0])):
        Image.fromarray(pixels.numpy()).save(tmp_path / name)
        read = dataset.preprocessing.read([tmp_path / name])[0]
        assert read.shape == (1, 28, 28)
        assert (read.int() - image.int()).abs().max() <= 1
