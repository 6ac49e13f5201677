import io
import logging
import os
import time
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from nasmeta.datasets import omniglot
from nasmeta.datasets.omniglot import ARCHIVES, Omniglot
from nasmeta.errors import ConfigError, DataError
from nasmeta.task import SPLITS
from tests.datasets.pictures import SHARED_DATA, archive

OPTIONS = {"variant": "small", "download": False, "size": 28, "rotations": True, "cache": None}
ALPHABETS_1 = {"Balinese": 2, "Early_Aramaic": 1, "Greek": 2, "Latin": 2, "Korean": 1}
ALPHABETS_2 = {"Greek": 2, "Japanese_(katakana)": 1, "Latin": 2, "Sanskrit": 3, "Tagalog": 1}

needs_shared_data = pytest.mark.skipif(
    not (SHARED_DATA / "images_background_small1.zip").is_file(),
    reason=f"no images_background_small1.zip in {SHARED_DATA} (NASMETA_SHARED_DATA)",
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with small archives that stand for the published ones."""
    folder = tmp_path / "data"
    folder.mkdir()
    published = (
        archive(folder / "images_background_small1.zip", ALPHABETS_1),
        archive(folder / "images_background_small2.zip", ALPHABETS_2),
    )
    monkeypatch.setitem(omniglot.ARCHIVES, "small", published)
    return folder


@pytest.fixture
def decoded(monkeypatch):
    """How often images were decoded."""
    calls = []
    decode = Omniglot._decode
    monkeypatch.setattr(Omniglot, "_decode", lambda self: calls.append(self) or decode(self))
    return calls


def reference(split):
    """[classes, drawings, 28, 28] in [0, 1]: read as shared/bench/omniglot_accuracy.py does."""
    alphabets = {
        "train": ["Balinese", "Early_Aramaic", "Greek", "Korean", "Japanese_(katakana)"],
        "valid": ["Latin"],
        "test": ["Sanskrit", "Tagalog"],
    }[split]
    files = {}
    for number in (2, 1):
        with ZipFile(SHARED_DATA / f"images_background_small{number}.zip") as zipped:
            pngs = [name for name in zipped.namelist() if name.endswith(".png")]
            files.update({tuple(name.split("/")[1:]): zipped.read(name) for name in pngs})
    characters = []
    for alphabet in alphabets:
        for character in sorted({key[1] for key in files if key[0] == alphabet}):
            drawings = sorted(key for key in files if key[:2] == (alphabet, character))
            opened = [Image.open(io.BytesIO(files[key])).convert("L") for key in drawings]
            resized = [image.resize((28, 28), Image.Resampling.LANCZOS) for image in opened]
            characters.append(np.stack([1 - np.asarray(image, dtype=np.float32) / 255 for image in resized]))
    upright = torch.from_numpy(np.stack(characters))
    return torch.cat([torch.rot90(upright, k, (2, 3)) for k in range(4)])


@pytest.mark.parametrize("place", ["the folder", "an archive", "an unpacked folder", "one of each"])
def test_what_is_there_is_read_however_it_is_pointed_to(place, root, tmp_path, monkeypatch):
    """Packed or unpacked, the folder of both or one of them: the same images, and nothing is downloaded."""
    monkeypatch.setattr(omniglot.Published, "download", lambda *_: pytest.fail("downloads"))
    packed = Omniglot(root=str(root), **OPTIONS)
    expected = {split: packed.table(split) for split in SPLITS}
    first, second = (root / archive.name for archive in ARCHIVES["small"])
    if "unpacked" in place or "each" in place:
        for path in (first, second) if "unpacked" in place else (first,):
            with ZipFile(path) as zipped:
                zipped.extractall(root)
            path.unlink()
        (root / first.stem / ".DS_Store").touch()
    pointed = {"the folder": root, "an archive": second, "an unpacked folder": root / first.stem}
    options = {**OPTIONS, "download": True, "cache": str(tmp_path / "cache")}
    dataset = Omniglot(root=str(pointed.get(place, root)), **options)
    for split in SPLITS:
        table = dataset.table(split)
        assert table.names == expected[split].names
        assert torch.equal(table.images, expected[split].images)


def test_another_file_as_root_is_refused(tmp_path):
    (tmp_path / "omniglot.zip").touch()
    with pytest.raises(DataError, match=r"dataset\.root: .*omniglot\.zip .*images_background"):
        Omniglot(root=str(tmp_path / "omniglot.zip"), **{**OPTIONS, "download": True})


@needs_shared_data
def test_official_archives_are_read_as_the_benchmark_reads_them():
    start = time.perf_counter()
    dataset = Omniglot(root=str(SHARED_DATA), **OPTIONS)
    assert {split: dataset.num_classes(split) for split in SPLITS} == {
        "train": 628,
        "valid": 104,
        "test": 236,
    }
    assert sum(dataset.num_classes(split) for split in SPLITS) == 4 * 242
    assert time.perf_counter() - start < 2  # about 0.03: an index, no image
    for split in SPLITS:
        table = dataset.table(split)
        assert table.counts.tolist() == [20] * dataset.num_classes(split)
        if split != "train":  # the largest; both archives have alphabets of the others
            images = table.images.view(-1, 20, 28, 28).float() / 255
            assert torch.allclose(images, reference(split), atol=1e-6)


@needs_shared_data
def test_prediction_sees_what_training_saw(tmp_path):
    dataset = Omniglot(root=str(SHARED_DATA), **OPTIONS)
    with ZipFile(SHARED_DATA / "images_background_small2.zip") as zipped:
        member = next(
            name for name in sorted(zipped.namelist()) if "/Sanskrit/" in name and name.endswith(".png")
        )
        (tmp_path / "drawing.png").write_bytes(zipped.read(member))
    read = dataset.preprocessing.read([tmp_path / "drawing.png"])[0]
    assert torch.equal(read, dataset.table("test").images[0])


def test_splits_are_disjoint_alphabets_and_rotations_classes(root):
    dataset = Omniglot(root=str(root), **OPTIONS)
    alphabets = {split: {name.split("/")[0] for name in dataset.class_counts(split)} for split in SPLITS}
    assert alphabets == {
        "train": {"Balinese", "Early_Aramaic", "Greek", "Korean", "Japanese_(katakana)"},
        "valid": {"Latin"},
        "test": {"Sanskrit", "Tagalog"},
    }
    assert [dataset.num_classes(split) for split in SPLITS] == [4 * 7, 4 * 2, 4 * 4]
    assert [dataset.examples_per_class(split) for split in SPLITS] == [2, 2, 2]
    table = dataset.table("valid")
    assert table.names[0] == "Latin/character01/rot000"
    assert table.names[2] == "Latin/character01/rot090"
    assert torch.equal(table.images[4], torch.rot90(table.images[0], 1, (1, 2)))
    upright = Omniglot(root=str(root), **{**OPTIONS, "rotations": False})
    assert torch.equal(upright.table("valid").images, table.images[:4])


def test_full_set_is_split_as_its_authors_did(tmp_path, monkeypatch):
    background = {f"B{i:02}": 1 for i in range(30)}
    published = (
        archive(tmp_path / "images_background.zip", background),
        archive(tmp_path / "images_evaluation.zip", {f"E{i:02}": 2 for i in range(20)}),
    )
    monkeypatch.setitem(omniglot.ARCHIVES, "full", published)
    dataset = Omniglot(root=str(tmp_path), **{**OPTIONS, "variant": "full", "rotations": False})
    alphabets = [sorted({name.split("/")[0] for name in dataset.class_counts(split)}) for split in SPLITS]
    assert alphabets == [
        [f"B{i:02}" for i in range(25)],
        [f"B{i:02}" for i in range(25, 30)],
        [f"E{i:02}" for i in range(20)],
    ]
    assert len(dataset.table("test").images) == 20 * 2 * 2


def test_cache_is_used_and_survives_damage(root, tmp_path, decoded):
    def load():
        return Omniglot(root=str(root), **{**OPTIONS, "cache": str(tmp_path / "cache")}).table("train")

    first, second = load(), load()
    assert len(decoded) == 1
    assert torch.equal(first.images, second.images)
    assert first.names == second.names
    (cached,) = (tmp_path / "cache").glob("*.pt")
    cached.write_bytes(cached.read_bytes()[:1000])
    assert torch.equal(load().images, first.images)
    assert len(decoded) == 2
    load()
    assert len(decoded) == 2  # the damaged file was replaced


def test_cache_follows_the_archives_and_the_size(root, tmp_path, decoded):
    options = {**OPTIONS, "cache": str(tmp_path / "cache")}
    Omniglot(root=str(root), **options).table("train")
    Omniglot(root=str(root), **{**options, "rotations": False}).table("train")  # the same pixels
    assert len(decoded) == 1
    Omniglot(root=str(root), **{**options, "size": 14}).table("train")
    assert len(decoded) == 2
    os.utime(root / "images_background_small1.zip", ns=(0, 12345))
    Omniglot(root=str(root), **options).table("train")
    assert len(decoded) == 3


def test_cache_that_cannot_be_written_is_only_warned_about(root, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file")
    with caplog.at_level(logging.WARNING):
        table = Omniglot(root=str(root), **{**OPTIONS, "cache": str(tmp_path / "cache")}).table("test")
    assert len(table.images) == 4 * 4 * 2
    assert f"{tmp_path / 'cache'}" in caplog.text


def test_missing_archive_is_named(root, tmp_path):
    (root / "images_background_small2.zip").unlink()
    with pytest.raises(DataError, match=r"small2\.zip: .*data; .*dataset\.download=true"):
        Omniglot(root=str(root), **OPTIONS)
    with pytest.raises(ConfigError, match=r"dataset\.root: None, .*dataset\.cache"):
        Omniglot(root=None, **OPTIONS)


def test_damaged_archives_are_named(root):
    path = root / "images_background_small1.zip"
    content = path.read_bytes()
    path.write_bytes(content[:200])
    with pytest.raises(DataError, match=r"small1\.zip: .*zip"):
        Omniglot(root=str(root), **OPTIONS).num_classes("train")
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(DataError, match=r"small1\.zip: "):
        Omniglot(root=str(root), **OPTIONS).table("train")


def test_nothing_of_another_archive_is_read(root, monkeypatch):
    """Its members may be bombs: they are read only after the checksum of the archive was verified."""
    archive(root / "images_background_small1.zip", {**ALPHABETS_1, "Greek": 3})
    monkeypatch.setattr(ZipFile, "read", lambda *_: pytest.fail("a member is read"))
    dataset = Omniglot(root=str(root), **OPTIONS)
    assert dataset.num_classes("train") == 4 * 8
    with pytest.raises(DataError, match=rf"small1\.zip: .* {ARCHIVES['small'][0].digest}"):
        dataset.table("train")


def test_member_that_is_no_image_is_named(root, monkeypatch):
    text = {"images_background_small1/Greek/character01/9999_01.png": b"no image"}
    published = archive(root / "images_background_small1.zip", ALPHABETS_1, text)
    monkeypatch.setitem(omniglot.ARCHIVES, "small", (published, ARCHIVES["small"][1]))
    with pytest.raises(DataError, match=r"small1\.zip: .*9999_01\.png: "):
        Omniglot(root=str(root), **OPTIONS).table("train")


def test_archive_without_an_alphabet_is_refused(root, monkeypatch):
    published = archive(root / "images_background_small2.zip", {"Latin": 1, "Sanskrit": 1})
    monkeypatch.setitem(omniglot.ARCHIVES, "small", (ARCHIVES["small"][0], published))
    with pytest.raises(DataError, match=r"small1\.zip: .*'Japanese_\(katakana\)'"):
        Omniglot(root=str(root), **OPTIONS).num_classes("train")
