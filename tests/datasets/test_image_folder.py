import os

import pytest
import torch

from nasmeta.datasets.image_folder import ImageFolder
from nasmeta.errors import ConfigError, DataError
from nasmeta.task import SPLITS
from tests.datasets.pictures import save

OPTIONS = {
    "split_files": None,
    "size": 8,
    "channels": 1,
    "min_images": 2,
    "valid_fraction": 0.2,
    "test_fraction": 0.3,
    "seed": 0,
    "cache": None,
    "shot": 1,
}


def dataset(root, **changes):
    return ImageFolder(root=str(root), **{**OPTIONS, **changes})


def fill(folder, classes, images=3, first=0, extension="png"):
    """Folders class NN of one-coloured images; image i of the folder's class c has the grey 20 c + i."""
    for number in range(first, first + classes):
        for image in range(images):
            save(folder / f"class {number:02}" / f"{image}.{extension}", 20 * number + image)


@pytest.fixture
def split_root(tmp_path):
    fill(tmp_path / "train", 4)
    fill(tmp_path / "val", 2, first=4)
    fill(tmp_path / "test", 3, first=6)
    return tmp_path


def greys(table):
    return table.images[:, 0, 4, 4].tolist()


def test_folders_of_splits(split_root):
    data = dataset(split_root)
    assert [data.num_classes(split) for split in SPLITS] == [4, 2, 3]
    assert data.examples_per_class("train") == 3
    assert data.table("valid").names == ("class 04", "class 05")
    assert greys(data.table("valid")) == [80, 81, 82, 100, 101, 102]
    assert greys(data.table("test")) == [120, 121, 122, 140, 141, 142, 160, 161, 162]
    (split_root / "val").rename(split_root / "valid")
    assert dataset(split_root).num_classes("valid") == 2


def test_other_files_are_ignored_and_extensions_may_be_capital(split_root):
    (split_root / "train" / "class 00" / "notes.txt").write_text("not an image")
    (split_root / "train" / "class 00" / ".hidden.png").write_text("not an image")
    (split_root / "train" / ".git").mkdir()
    save(split_root / "train" / "class 00" / "more.PNG", 9)
    data = dataset(split_root)
    assert data.class_counts("train") == {"class 00": 4, "class 01": 3, "class 02": 3, "class 03": 3}
    assert greys(data.table("train"))[:4] == [0, 1, 2, 9]


def test_flat_folder_is_divided_by_the_seed(tmp_path):
    fill(tmp_path, 10)
    first, again, other = dataset(tmp_path), dataset(tmp_path), dataset(tmp_path, seed=1)
    names = {split: list(first.class_counts(split)) for split in SPLITS}
    assert [len(names[split]) for split in SPLITS] == [5, 2, 3]
    assert sorted(name for split in SPLITS for name in names[split]) == [f"class {i:02}" for i in range(10)]
    assert all(list(again.class_counts(split)) == names[split] for split in SPLITS)
    assert any(list(other.class_counts(split)) != names[split] for split in SPLITS)
    number = int(names["test"][0].split()[1])
    assert greys(first.table("test"))[:3] == [20 * number, 20 * number + 1, 20 * number + 2]


def write_csv(folder, split, rows, header="filename,label"):
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.csv").write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture
def csv_root(tmp_path):
    """As mini-ImageNet is published: all images in one folder, CSV files that name their classes."""
    for split, classes in (("train", (0, 1)), ("val", (2,)), ("test", (3, 4))):
        rows = []
        for number in classes:
            for image in range(2):
                save(tmp_path / "images" / f"n{number}_{image}.jpg", 20 * number + image)
                rows.append(f"n{number}_{image}.jpg,n{number}")
        write_csv(tmp_path / "splits", split, rows[::-1])
    return tmp_path


def test_split_files(csv_root):
    data = dataset(csv_root, split_files=str(csv_root / "splits"))
    assert [list(data.class_counts(split)) for split in SPLITS] == [["n0", "n1"], ["n2"], ["n3", "n4"]]
    assert greys(data.table("train")) == [1, 0, 21, 20]  # images in the order of the file


def test_blanks_and_repeated_rows_of_split_files_make_no_classes_and_no_images(csv_root):
    splits = csv_root / "splits"
    rows = [
        "n3_0.jpg,n3",
        "n3_1.jpg, n3 ",
        " n4_0.jpg ,n4",
        "./n3_0.jpg,n3",
        "",
        "n4_1.jpg,n4",
        "n4_1.jpg,n4",
    ]
    write_csv(splits, "test", rows, header="filename, label ")
    data = dataset(csv_root, split_files=str(splits))
    assert data.class_counts("test") == {"n3": 2, "n4": 2}
    assert greys(data.table("test")) == [60, 61, 80, 81]
    assert data.notices(way=0, shot=1, query=1) == [f"{csv_root}; left out: 2 images listed again"]


@pytest.mark.parametrize("odd", ["\u2028", "\x0b", "\x1c", "\x85"])
def test_only_line_ends_end_lines_of_split_files(csv_root, odd):
    name = f"a{odd}b.jpg"
    (csv_root / "images" / "n3_0.jpg").rename(csv_root / "images" / name)
    write_csv(csv_root / "splits", "test", [f"{name},n3", "n3_1.jpg,n3", "n4_0.jpg,n4", "n4_1.jpg,n4"])
    data = dataset(csv_root, split_files=str(csv_root / "splits"))
    assert data.class_counts("test") == {"n3": 2, "n4": 2}
    assert greys(data.table("test")) == [60, 61, 80, 81]


def test_an_image_has_one_label_and_one_split(csv_root):
    splits = csv_root / "splits"
    for row in ("n3_0.jpg,n4", "n0_0.jpg,n3"):
        write_csv(splits, "test", ["n3_0.jpg,n3", "n3_1.jpg,n3", "n4_0.jpg,n4", "n4_1.jpg,n4", row])
        with pytest.raises(DataError, match=r"test\.csv: line 6: n\d_0\.jpg .*'n[34]'.* 'n\d' .*: line \d"):
            dataset(csv_root, split_files=str(splits)).num_classes("test")


def test_split_file_mistakes_are_named(csv_root):
    splits = csv_root / "splits"
    (csv_root / "images" / "n3_1.jpg").unlink()
    with pytest.raises(DataError, match=r"n3_1\.jpg: No such file"):
        dataset(csv_root, split_files=str(splits)).table("test")
    write_csv(splits, "test", ["n0_0.jpg,n0", "n0_1.jpg,n0"])
    with pytest.raises(DataError, match=r"splits: .*'n0' .*train .*test"):
        dataset(csv_root, split_files=str(splits)).num_classes("train")
    write_csv(splits, "test", ["n3_0.jpg,n3"], header="file,class")
    with pytest.raises(DataError, match=r"test\.csv: .*\['file', 'class'\]; .*filename,label"):
        dataset(csv_root, split_files=str(splits)).num_classes("train")
    write_csv(splits, "test", ["n3_0.jpg"])
    with pytest.raises(DataError, match=r"test\.csv: line 2 .*filename,label"):
        dataset(csv_root, split_files=str(splits)).num_classes("train")
    (splits / "test.csv").write_bytes(b"filename,label\n\xff,n3\n")
    with pytest.raises(DataError, match=r"test\.csv: .*UTF-8"):
        dataset(csv_root, split_files=str(splits)).num_classes("train")
    write_csv(splits, "test", [])
    with pytest.raises(DataError, match=r"test\.csv: .*filename,label"):
        dataset(csv_root, split_files=str(splits)).num_classes("train")
    (splits / "val.csv").unlink()
    with pytest.raises(DataError, match=r"splits: .*val\.csv or valid\.csv"):
        dataset(csv_root, split_files=str(splits)).num_classes("train")
    (csv_root / "images").rename(csv_root / "pictures")
    with pytest.raises(DataError, match=r"images: .*dataset\.split_files"):
        dataset(csv_root, split_files=str(splits)).num_classes("train")


def test_a_split_whose_tasks_share_their_classes_is_said(split_root):
    data = dataset(split_root)
    classes = data.num_classes("test")
    (notice,) = data.notices(way=classes // 2 + 1, shot=1, query=1, splits=("train", "test"))
    assert notice.startswith(
        f"the test split has {classes} classes, of which a task takes {classes // 2 + 1}"
    )
    assert not data.notices(way=classes // 2, shot=1, query=1, splits=("test",))


def test_small_classes_are_left_out_and_counted(split_root):
    fill(split_root / "train", 1, images=1, first=10)
    data = dataset(split_root)
    assert data.num_classes("train") == 4
    (notice,) = data.notices(way=0, shot=1, query=2)
    assert notice.startswith(f"{split_root}; ")
    assert notice.endswith("1 class of fewer than 2 images (class 10: 1)")
    with pytest.raises(DataError, match=r"train: .* 9 images .*dataset\.min_images.* 3$"):
        dataset(split_root, min_images=9).num_classes("train")


@pytest.mark.parametrize(
    "shot, min_images, classes", [(1, None, 3), (3, None, 2), (3, 1, 2), (1, 4, 2), (2, 6, 1)]
)
def test_a_class_has_the_shots_and_one_query_at_least(tmp_path, shot, min_images, classes):
    """Folders of 2, 4, 6 images in the train split, enough in the others."""
    for number, images in enumerate((2, 4, 6)):
        fill(tmp_path / "train", 1, images=images, first=number)
    fill(tmp_path / "val", 2, images=9, first=4)
    fill(tmp_path / "test", 2, images=9, first=6)
    assert dataset(tmp_path, shot=shot, min_images=min_images).num_classes("train") == classes


def test_queries_shrink_to_what_the_smallest_class_has(tmp_path):
    """Per split, said in one line; the tasks are as before where there are enough."""
    fill(tmp_path / "train", 3, images=7)
    fill(tmp_path / "val", 3, images=4, first=4)
    fill(tmp_path / "test", 3, images=20, first=8)
    data = dataset(tmp_path, min_images=None, shot=2)
    options = {"way": 2, "shot": 2, "query": 15, "seed": 3, "device": torch.device("cpu")}
    for split, query in (("train", 5), ("valid", 2), ("test", 15)):
        batch = data.sampler(split, **options).batch(0, 4)
        assert batch.query_x.shape[:2] == (4, 2 * query)
        assert batch.query_y[0].tolist() == [0] * query + [1] * query
        again = dataset(tmp_path, min_images=None, shot=2).sampler(split, **options).batch(0, 4)
        assert torch.equal(batch.query_x, again.query_x)  # a resumed run sees the same
    (notice,) = data.notices(way=0, shot=2, query=15)
    assert "task.query=15" in notice
    assert "5 in train, 2 in valid" in notice
    assert "test" not in notice
    assert "dataset.min_images=17" in notice
    assert data.notices(way=0, shot=2, query=2) == []


def test_too_few_classes_are_told_what_they_are_good_for(tmp_path):
    root = tmp_path / "cats & dogs"
    fill(root, 2)
    with pytest.raises(DataError, match=r"nasmeta predict CHECKPOINT --support '.*cats & dogs' --query"):
        dataset(root).num_classes("train")
    fill(root, 1, first=5)
    fill(root, 1, images=1, first=6)
    with pytest.raises(ConfigError, match=r"^task\.way: 5 .*train .* 1; .* 2 ") as raised:
        dataset(root).check_episodes("train", way=5, shot=1)
    assert "1 class of fewer than 2 images" in str(raised.value)
    assert f"--support '{root}'" in str(raised.value)


def test_only_classes_take_places_among_the_splits(tmp_path):
    """Ten classes are divided as if what is no class, or too small a one, were not there."""
    fill(tmp_path, 10)
    alone = dataset(tmp_path)
    expected = {split: list(alone.class_counts(split)) for split in SPLITS}
    for name in ("@eaDir", "__MACOSX", "$RECYCLE.BIN", ".ipynb_checkpoints"):
        save(tmp_path / name / "0.png")
        save(tmp_path / name / "1.png")
    for name in ("old", "todo"):
        (tmp_path / name).mkdir()
    fill(tmp_path, 40, images=1, first=50)
    data = dataset(tmp_path)
    assert {split: list(data.class_counts(split)) for split in SPLITS} == expected
    (line,) = data.notices(way=0, shot=1, query=2)
    assert "2 folders without images (old, todo)" in line
    assert "40 classes of fewer than 2 images (class 50: 1, " in line
    assert "and 35 more" in line
    assert len(line) < 300


def test_classes_one_level_deeper_are_found(tmp_path):
    fill(tmp_path / "all", 6)
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"one level deeper; name that folder: .*/all$"):
        dataset(tmp_path).class_counts("train")


def test_layout_mistakes_are_named(split_root, tmp_path_factory):
    with pytest.raises(DataError, match=r"nowhere: .*dataset\.root.*root/CLASS/IMAGE"):
        dataset(split_root / "nowhere")
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataError, match=r"empty0: .*root/CLASS/IMAGE"):
        dataset(empty).num_classes("train")
    fill(split_root / "test", 1, first=0)
    with pytest.raises(DataError, match=r"'class 00' .*train .*test"):
        dataset(split_root).num_classes("train")
    (split_root / "valid").mkdir()
    with pytest.raises(DataError, match="val or valid; "):
        dataset(split_root).num_classes("train")
    (split_root / "valid").rmdir()
    (split_root / "test").rename(split_root / "others")
    with pytest.raises(DataError, match=r"no test, "):
        dataset(split_root).num_classes("train")


def test_too_few_classes_to_divide(tmp_path):
    fill(tmp_path, 2)
    with pytest.raises(DataError, match=r"2 classes .*1 valid .*1 test; .*dataset\.valid_fraction"):
        dataset(tmp_path).num_classes("train")
    with pytest.raises(
        ConfigError, match=r"dataset\.valid_fraction \+ dataset\.test_fraction: 0\.6 \+ 0\.4; "
    ):
        dataset(tmp_path, valid_fraction=0.6, test_fraction=0.4)


def test_unreadable_image_is_named(split_root):
    (split_root / "val" / "class 04" / "1.png").write_bytes(b"broken")
    data = dataset(split_root)
    assert data.num_classes("valid") == 2
    with pytest.raises(DataError, match=r"val/class 04/1\.png: "):
        data.table("valid")


def test_statistics_are_those_of_the_train_split(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        for image in range(2):
            colour = (10 + 100 * number, 40 * image, 200)
            save(tmp_path / split / f"class {number}" / f"{image}.png", colour)
    data = dataset(tmp_path, channels=3)
    assert data.input_shape == (3, 8, 8)
    assert data.preprocessing.mean == pytest.approx((10 / 255, 20 / 255, 200 / 255))
    assert data.preprocessing.std == pytest.approx((1 / 255, 20 / 255, 1 / 255))  # never 0
    sampler = data.sampler("train", way=1, shot=1, query=1, seed=0, device=torch.device("cpu"))
    batch = sampler.batch(0, 1)
    green = torch.cat([batch.support_x, batch.query_x], 1)[0, :, 1, 3, 3]
    assert sorted(green.tolist()) == pytest.approx([-1, 1], abs=1e-5)


def test_second_load_comes_from_the_cache(split_root, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    first = dataset(split_root, cache=str(cache)).table("test")
    (cached,) = cache.glob("*.pt")
    changed = cached.stat().st_mtime_ns
    second = dataset(split_root, cache=str(cache)).table("test")
    assert torch.equal(first.images, second.images)
    assert cached.stat().st_mtime_ns == changed
    save(split_root / "test" / "class 06" / "0.png", 255)
    os.utime(split_root / "test" / "class 06" / "0.png", ns=(0, 1))
    third = dataset(split_root, cache=str(cache)).table("test")
    assert greys(third)[0] == 255
    assert len(list(cache.glob("*.pt"))) == 2


def test_prediction_sees_what_training_saw(split_root):
    data = dataset(split_root)
    read = data.preprocessing.read([split_root / "test" / "class 07" / "2.png"])[0]
    assert torch.equal(read, data.table("test").images[5])


def test_relabelled_split_file_is_not_served_from_the_cache(csv_root, tmp_path_factory):
    options = {"split_files": str(csv_root / "splits"), "cache": str(tmp_path_factory.mktemp("cache"))}
    assert dataset(csv_root, **options).table("valid").names == ("n2",)
    write_csv(csv_root / "splits", "val", ["n2_1.jpg,other", "n2_0.jpg,other"])
    assert dataset(csv_root, **options).table("valid").names == ("other",)
