import pytest
import torch

from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.cache import cached_table
from nasmeta.runtime.paths import absolute_folder


@pytest.fixture
def build():
    """Builds a table of nine images, and counts how often it did."""

    def build():
        build.calls += 1
        images = torch.arange(9 * 3 * 4, dtype=torch.uint8).view(9, 3, 2, 2)
        return ImageTable(images, torch.tensor([4, 5]), ("a", "b"))

    build.calls = 0
    return build


def test_second_load_equals_the_first(tmp_path, build):
    first = cached_table(tmp_path, "set", ["key", 1], build)
    second = cached_table(tmp_path, "set", ["key", 1], build)
    assert build.calls == 1
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.counts, second.counts)
    assert first.names == second.names
    assert second.images.is_contiguous(memory_format=torch.channels_last)
    assert len(list(tmp_path.glob("*.pt"))) == 1  # and no temporary file


def test_another_key_is_another_file(tmp_path, build):
    for key in (["key", 1], ["key", 2], ["key", "1"]):
        cached_table(tmp_path, "set", key, build)
    assert build.calls == 3
    assert len(list(tmp_path.glob("*.pt"))) == 3


def test_without_a_folder_nothing_is_cached(build):
    cached_table(None, "set", [], build)
    cached_table(None, "set", [], build)
    assert build.calls == 2


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "another object"])
def test_damaged_file_is_built_again(tmp_path, build, damage):
    first = cached_table(tmp_path, "set", [], build)
    (path,) = tmp_path.glob("*.pt")
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-50])
    elif damage == "one bit":
        at = content.index(bytes(first.images.permute(0, 2, 3, 1).flatten()[:40].tolist()))
        path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        torch.save({"pixels": 3}, path)
    second = cached_table(tmp_path, "set", [], build)
    assert build.calls == 2
    assert torch.equal(first.images, second.images)
    cached_table(tmp_path, "set", [], build)
    assert build.calls == 2  # replaced


def test_folder_names_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert absolute_folder("images") == str(tmp_path / "images")
    assert absolute_folder("~/images") == "/home/someone/images"
    assert absolute_folder("~nobody-of-this-name/images").endswith("nobody-of-this-name/images")
    assert absolute_folder("/a/../b") == "/b"


def test_classes_of_a_table_are_a_view(build):
    table = build()
    second = table.classes(1, 2)
    assert second.names == ("b",)
    assert torch.equal(second.images, table.images[4:])
    assert second.images.data_ptr() == table.images[4:].data_ptr()


def test_table_that_disagrees_with_itself_is_refused():
    with pytest.raises(ValueError, match="ImageTable"):
        ImageTable(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([1, 1]), ("a", "b"))
