"""One rule for datasets, examples and queries: what an image is, and what a class folder is."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from nasmeta.datasets.image_files import AVIF, LeftOut, classes_in, images_below, images_in
from nasmeta.errors import DataError
from tests.datasets.pictures import save

SYSTEM_FOLDERS = ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN", "System Volume Information"]


def written(path: Path, image_format: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (10, 20, 30)).save(path, format=image_format)
    return path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize("folder", SYSTEM_FOLDERS)
def test_system_folders_are_neither_classes_nor_queries(folder: str, tmp_path: Path) -> None:
    save(tmp_path / "cat" / "0.png")
    save(tmp_path / folder / "1.png")
    save(tmp_path / "cat" / folder / "2.png")
    left_out = LeftOut()
    assert list(classes_in(tmp_path, left_out)) == ["cat"]
    assert names(images_below(tmp_path, left_out)) == ["0.png"]
    assert str(left_out) == ""


@pytest.mark.parametrize("name", ["._0.png", ".0.png", "Thumbs.db", "desktop.ini", ".DS_Store"])
def test_system_files_are_no_images(name: str, tmp_path: Path) -> None:
    save(tmp_path / "0.png")
    shutil.copy(tmp_path / "0.png", tmp_path / name)
    left_out = LeftOut()
    assert names(images_in(tmp_path, left_out)) == names(images_below(tmp_path, left_out)) == ["0.png"]
    assert str(left_out) == ""


@pytest.mark.parametrize(
    "name, image_format",
    [
        ("a.jfif", "JPEG"),
        ("a.jpe", "JPEG"),
        ("a.JPG", "JPEG"),
        ("a", "JPEG"),
        ("a", "PNG"),
        ("at 10.30", "PNG"),
        ("x.jpg?width=300", "JPEG"),
        ("x.jpg.1", "JPEG"),
        pytest.param(
            "a.avif", "AVIF", marks=pytest.mark.skipif(not AVIF, reason="this Pillow reads no AVIF")
        ),
    ],
)
def test_what_is_an_image(name: str, image_format: str, tmp_path: Path) -> None:
    path = written(tmp_path / "c" / name, image_format)
    left_out = LeftOut()
    assert classes_in(tmp_path, left_out) == {"c": [path]}
    assert images_below(tmp_path, left_out) == [path]
    assert str(left_out) == ""


def test_what_was_left_out_is_counted_by_kind(tmp_path: Path) -> None:
    for number in range(3):
        written(tmp_path / "c" / f"{number}.HEIC", "PNG")
    (tmp_path / "c" / "one.jp2").touch()
    (tmp_path / "c" / "README").write_text("not an image")
    (tmp_path / "c" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "c" / "pipe.png")
    (tmp_path / "c" / "inner").mkdir()
    save(tmp_path / "c" / "0.png")
    save(tmp_path / "loose.png")
    (tmp_path / "empty").mkdir()
    left_out = LeftOut()
    assert list(classes_in(tmp_path, left_out)) == ["c"]
    assert left_out.kinds == {
        ".heic": 3,
        ".jp2": 1,
        "file without a suffix": 1,
        "link to nothing": 1,
        "pipe or device": 1,
        "folder inside a class folder": 1,
        "image beside the class folders": 1,
    }
    assert str(left_out).startswith("left out: 3 .heic, 1 ")
    assert str(left_out).endswith(", 2 files of other kinds, 1 folder without images (empty)")


def test_a_warning_is_short_however_much_was_left_out(tmp_path: Path) -> None:
    left_out = LeftOut(least=7)
    left_out.empty = [f"folder\n{n}" for n in range(10_000)]
    left_out.small = {f"class\x1b[2J{n}": 3 for n in range(10_000)}
    left_out.kinds.update({f".x{n}": 2 for n in range(1000)})
    text = str(left_out)
    assert len(text) < 500
    assert text.isprintable()
    assert "10000 folders without images (folder\\n0, " in text
    assert "10000 classes of fewer than 7 images" in text
    assert "and 9995 more" in text


def test_links_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "deep" / "0.png")
    query = tmp_path / "query"
    save(query / "z" / "1.png")
    (query / "a").symlink_to(query / "z")  # there is a real one: it is read where it is
    (query / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(query)
    (query / "self").symlink_to(query / "self")
    (query / "up").symlink_to("..")
    found = images_below(query, LeftOut())
    assert [str(path.relative_to(query)) for path in found] == ["linked/deep/0.png", "z/1.png"]


def test_linked_classes_and_images_are_taken(tmp_path: Path) -> None:
    save(tmp_path / "store" / "cat" / "0.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "cat").symlink_to(tmp_path / "store" / "cat")
    (root / "dog").mkdir()
    (root / "dog" / "1.png").symlink_to(tmp_path / "store" / "cat" / "0.png")
    (root / "loop").symlink_to(root)
    left_out = LeftOut()
    assert {name: names(files) for name, files in classes_in(root, left_out).items()} == {
        "cat": ["0.png"],
        "dog": ["1.png"],
    }
    assert left_out.empty == ["loop"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: .*No such file"):
        images_in(tmp_path / "gone", LeftOut())
