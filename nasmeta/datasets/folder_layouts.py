"""Finds the class and the split of every image file, for the three usual layouts of folders.

    root/train/CLASS/*.png  root/val/CLASS/*.png  root/test/CLASS/*.png     split by folders (or `valid`)
    root/CLASS/*.png                                                        split by fractions of the classes
    root/images/*.jpg  and  train.csv val.csv test.csv                      split by files, like mini-ImageNet

The CSV files have the header `filename,label`, as published by Ravi and Larochelle, "Optimization as a
Model for Few-Shot Learning", ICLR 2017. This module reads names only, no images.
"""

import csv
import io
import shlex
from collections.abc import Collection, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np

from nasmeta import seeding
from nasmeta.datasets.image_files import NAMED_AS, Classes, LeftOut, classes_in, has_folders
from nasmeta.errors import DataError
from nasmeta.runtime import files
from nasmeta.task import SPLITS, Split

LAYOUTS = "expected root/{train,val,test}/CLASS/IMAGE or root/CLASS/IMAGE"
_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "valid": ("val", "valid"), "test": ("test",)}


def has_split_folders(root: Path) -> bool:
    """Whether `root` has a folder for a split that holds folders."""
    return any(has_folders(root / name) for split in SPLITS for name in _NAMES[split])


def read_split_folders(root: Path, splits: Collection[Split], left_out: LeftOut) -> dict[Split, Classes]:
    """The classes of each of `splits`, as `read_classes` of its folder in `root`.

    Raises DataError if the folder of a split is missing or ambiguous.
    """
    return {split: read_classes(_only(root, split, ""), left_out) for split in splits}


def read_classes(folder: Path, left_out: LeftOut) -> Classes:
    """The classes in `folder`, sorted by name, if each is a folder.

    Classes with fewer than `left_out.least` images are left out. What was not taken is added to `left_out`.
    Raises DataError if there is no class, or if a folder cannot be listed.
    """
    classes = classes_in(folder, left_out)
    if not classes:
        deeper = next((name for name in left_out.empty if classes_in(folder / name, LeftOut())), None)
        if deeper is not None:
            raise DataError(
                f"{folder}: its classes lie one level deeper; name that folder: {folder / deeper}"
            )
        raise DataError(f"{folder}: holds no images; {LAYOUTS}, with IMAGE {NAMED_AS}{left_out.hint}")
    return _large_enough(classes, folder, left_out)


def read_split_files(
    folder: Path, images: Path, splits: Collection[Split], left_out: LeftOut
) -> dict[Split, Classes]:
    """The classes of each of `splits` according to the CSV files in `folder`, of files in `images`.

    `left_out` and errors are as in `read_split_folders`.
    """
    if not images.is_dir():
        raise DataError(f"{images}: no such folder; with dataset.split_files the images lie in root/images")
    paths = {split: _only(folder, split, ".csv") for split in splits}
    listed: dict[Path, tuple[str, str]] = {}
    found = {split: _read_csv(path, images, listed, left_out) for split, path in paths.items()}
    return {split: _large_enough(classes, paths[split], left_out) for split, classes in found.items()}


def check_disjoint(splits: dict[Split, Classes], root: Path) -> None:
    """Raises DataError if two splits have a class of the same name."""
    for first, second in combinations(splits, 2):
        both = sorted(splits[first].keys() & splits[second].keys())
        if both:
            raise DataError(
                f"{root}: class {both[0]!r} is in the {first} and in the {second} split ({len(both)} such); "
                f"the classes of the splits must be disjoint"
            )


def _only(folder: Path, split: Split, suffix: str) -> Path:
    found = [path for name in _NAMES[split] if (path := folder / f"{name}{suffix}").exists()]
    expected = " or ".join(f"{name}{suffix}" for name in _NAMES[split])
    if not found:
        raise DataError(
            f"{folder}: has no {expected}, which must hold the {split} split; without a split of your own, "
            f"put all classes side by side: {folder}/CLASS/IMAGE"
        )
    if len(found) > 1:
        raise DataError(f"{folder}: more than one of {expected}; keep the one that is the {split} split")
    return found[0]


def _large_enough(classes: Classes, where: Path, left_out: LeftOut) -> Classes:
    kept = {name: files for name, files in classes.items() if len(files) >= left_out.least}
    left_out.small |= {name: len(files) for name, files in classes.items() if name not in kept}
    if not kept:
        largest = max(map(len, classes.values()))
        raise DataError(
            f"{where}: no class has the {left_out.least} images that task.shot and one query, or "
            f"dataset.min_images, ask for; the largest has {largest}"
        )
    return kept


def few_classes(root: Path) -> str:
    """The end of an error message: what can be done with fewer classes than meta-learning needs."""
    return (
        "; to tell few classes apart, use a network that was meta-learned on others: "
        f"nasmeta predict CHECKPOINT --support {shlex.quote(str(root))} --query IMAGES"
    )


def divide_as_before(classes: Classes, known: Mapping[Split, Collection[str]]) -> dict[Split, Classes] | None:
    """The `known` classes, each in its split; None if the folder has none of the known test classes.

    In that case it is another folder. Classes that are new in the folder are in no split.
    """
    if not any(name in classes for name in known.get("test", ())):
        return None
    return {split: {name: classes[name] for name in known[split] if name in classes} for split in SPLITS}


def without(classes: Classes, known: Mapping[Split, Collection[str]]) -> Classes:
    """The classes with which a network was neither meta-trained nor selected, given its `known` classes."""
    used = {*known.get("train", ()), *known.get("valid", ())}
    return {name: files for name, files in classes.items() if name not in used}


def divide(
    classes: Classes, root: Path, valid_fraction: float, test_fraction: float, seed: int
) -> dict[Split, Classes]:
    """Divides the classes among the splits; the seed decides which class goes where.

    The fractions are rounded to numbers of classes, with at least one for valid and one for test. Raises
    DataError if no class is left for train.
    """
    names = list(classes)
    valid, test = (max(1, round(fraction * len(names))) for fraction in (valid_fraction, test_fraction))
    if valid + test >= len(names):
        raise DataError(
            f"{root}: {len(names)} classes cannot be divided into train, {valid} valid and {test} test; "
            f"add classes, or lower dataset.valid_fraction and dataset.test_fraction"
        )
    order = seeding.stream(seed, "image_folder", "splits").permutation(len(names))
    chosen = dict(zip(("test", "valid", "train"), np.split(order, [test, test + valid]), strict=True))
    return {split: {names[i]: classes[names[i]] for i in sorted(chosen[split])} for split in SPLITS}


def _read_csv(path: Path, images: Path, listed: dict[Path, tuple[str, str]], left_out: LeftOut) -> Classes:
    """The classes that one file lists, sorted by name.

    `listed` maps every image so far, in any of the files, to its label and line; this file's are added.
    """
    try:
        text = files.read_bytes(path, files.MAX_TABLE).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); expected UTF-8 lines of filename,label"
        ) from error
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)  # lines end as CSV's do
    classes: Classes = {}
    seen: set[Path] = set()
    try:
        header = rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
        if not {"filename", "label"} <= set(header):
            raise DataError(f"{path}: its header is {header!r}; expected filename,label")
        for row in rows:
            name, label = ((row[key] or "").strip() for key in ("filename", "label"))
            line = f"{path}: line {rows.line_num}"
            if not name or not label:
                raise DataError(f"{line} lacks a filename or a label; expected filename,label")
            image = _inside(images, name, line)
            before = listed.setdefault(image, (label, line))
            if before[0] != label:
                raise DataError(f"{line}: {name} is {label!r}, and {before[0]!r} in {before[1]}; keep one")
            if image in seen:
                left_out.kinds["image listed again"] += 1
            else:
                seen.add(image)
                classes.setdefault(label, []).append(image)
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num}: {error}; expected filename,label") from error
    if not classes:
        raise DataError(f"{path}: lists no images; expected lines of filename,label")
    return dict(sorted(classes.items()))


def _inside(images: Path, name: str, line: str) -> Path:
    """images / name. Raises DataError if that is outside of `images`, since a list may come from anybody."""
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts or "\0" in name:
        raise DataError(f"{line}: {name!r} is not a file inside {images}")
    return images / relative
