"""Links, pipes and devices in a folder of images, in a cache, and in the place of a table or an archive."""

import os
import stat
from pathlib import Path

import pytest
import torch

from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.cache import cached_table
from nasmeta.datasets.decode import ImageReader
from nasmeta.datasets.folder_layouts import read_split_files
from nasmeta.datasets.image_archive import drawings
from nasmeta.datasets.image_files import LeftOut, images_below
from nasmeta.errors import ConfigError, DataError
from nasmeta.evaluators.tabular.sheet import Sheet
from nasmeta.runtime import files
from tests.datasets.pictures import save
from tests.hostile.planted import Plant, hard_link, link, link_to_a_device, listener, pipe, snapshot

pytestmark = pytest.mark.timeout(30, func_only=True)  # what waits for a pipe would wait for ever
NO_FILES = [pipe, listener, link_to_a_device]
READER = ImageReader(channels=1, size=8, glyph=False)
A_TABLE = ImageTable(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([2]), ("a",))


@pytest.mark.parametrize("plant", NO_FILES, ids=lambda plant: plant.__name__)
def test_what_is_no_file_is_no_image_no_list_no_archive_and_no_table(tmp_path: Path, plant: Plant) -> None:
    (tmp_path / "images").mkdir()
    for name in ("x.png", "train.csv", "x.zip"):
        plant(tmp_path / name, tmp_path)
    with pytest.raises(DataError, match=r"x\.png"):
        READER.read_one(tmp_path / "x.png", "x.png")
    with pytest.raises(DataError, match=r"train\.csv"):
        read_split_files(tmp_path, tmp_path / "images", ["train"], LeftOut())
    with pytest.raises(DataError, match=r"x\.zip: "):
        drawings(tmp_path / "x.zip")
    with pytest.raises(ConfigError, match=r"train\.csv: "):
        Sheet(tmp_path / "train.csv")


@pytest.mark.parametrize("plant", NO_FILES, ids=lambda plant: plant.__name__)
def test_a_folder_of_images_is_read_around_it(tmp_path: Path, plant: Plant) -> None:
    image = save(tmp_path / "cat" / "a.png")
    plant(tmp_path / "cat" / "b.png", tmp_path)
    plant(tmp_path / "cat" / "without a suffix", tmp_path)
    left_out = LeftOut()
    assert images_below(tmp_path, left_out) == [image]
    assert left_out.kinds.total() == 2


def test_images_and_folders_of_images_may_be_links(tmp_path: Path) -> None:
    image = save(tmp_path / "disk" / "cat" / "a.png", 50)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "disk" / "cat")
    (tmp_path / "root" / "b.png").symlink_to(image)
    found = images_below(tmp_path / "root", LeftOut())
    assert len(found) == 2
    assert (READER.read(found) == 50).all()


def test_an_image_file_has_a_bound(tmp_path: Path) -> None:
    with open(tmp_path / "x.png", "wb") as file:
        file.truncate(files.MAX_IMAGE + 1)  # sparse
    with pytest.raises(DataError, match=r"at most \d+ are read"):
        READER.read_one(tmp_path / "x.png", "x.png")


@pytest.mark.parametrize("plant", [link, hard_link, pipe, listener], ids=lambda plant: plant.__name__)
def test_a_cache_is_replaced_and_never_written_into(tmp_path: Path, plant: Plant) -> None:
    cache, outside = tmp_path / "cache", tmp_path / "outside"
    outside.mkdir()
    cached_table(cache, "set", "key", lambda: A_TABLE)
    (path,) = cache.glob("*.pt")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask(), "others may read a shared cache"
    path.unlink()
    (outside / "x").write_bytes(b"a file of the user")
    plant(path, outside / "x")
    before = snapshot(outside)
    assert torch.equal(cached_table(cache, "set", "key", lambda: A_TABLE).images, A_TABLE.images)
    assert snapshot(outside) == before
    assert stat.S_ISREG(os.lstat(path).st_mode)
    assert sorted(os.listdir(cache)) == sorted(["CACHEDIR.TAG", path.name])


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now
