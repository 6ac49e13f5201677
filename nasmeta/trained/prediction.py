"""Labels image files by a checkpoint and a handful of labelled images: `nasmeta predict`."""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasmeta.datasets.decode import Unreadable
from nasmeta.datasets.image_files import (
    NAMED_AS,
    Classes,
    LeftOut,
    classes_in,
    images_below,
    is_system,
)
from nasmeta.errors import DataError
from nasmeta.runtime.text import csv_cell, some
from nasmeta.trained.classifier import FewShotClassifier

LAYOUT = f"expected SUPPORT/CLASS/IMAGE, with IMAGE {NAMED_AS}"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """An image, its most probable class, and the probabilities of all classes.

    unknown: whether it is too far from all classes. The label is then the classifier's for such images.
    """

    file: Path
    label: str
    probabilities: dict[str, float]
    unknown: bool = False


def fit_files(classifier: FewShotClassifier, support: Mapping[str, Sequence[Path]]) -> list[Path]:
    """Fits the classifier to the image files of each class; returns all files. Raises DataError as `fit`."""
    files = [file for images in support.values() for file in images]
    classifier.fit(files, [label for label, images in support.items() for _ in images])
    return files


def find_support(folder: Path) -> Classes:
    """The image files of each class in `folder`. Raises DataError if there are fewer than two classes.

    One warning counts the files that were left out.
    """
    if folder.is_file():
        raise DataError(f"{folder}: is a file; name a folder (unpack an archive first); {LAYOUT}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {LAYOUT}")
    left_out = LeftOut()
    support = classes_in(folder, left_out)
    if len(support) < 2:
        raise DataError(
            f"{folder}: {len(support) or 'no'} class with images; a classifier needs at least 2; {LAYOUT}"
            f"{left_out.hint}"
        )
    if left_out.hint:
        _log.warning("%s: %s", folder, left_out)
    return support


def find_queries(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths`, and the images at any depth in those that are folders.

    Raises DataError if a path does not exist or no image is found. One warning counts the files that were
    left out, including files and folders of operating systems that a pattern such as `photos/*` matches.
    """
    found: list[Path] = []
    left_out = LeftOut()
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder (--query)")
        if is_system(path.name):
            left_out.kinds["file of an operating system"] += 1
        elif not path.is_dir():
            found.append(path)
        elif inside := images_below(path, left_out):
            found += inside
        else:
            left_out.empty.append(str(path))
    if not found:
        raise DataError(
            f"{some(list(map(str, paths)))}: no images (--query); they are {NAMED_AS}{left_out.hint}"
        )
    if left_out.hint:
        _log.warning("--query: %s", left_out)
    return found


def predictions(classifier: FewShotClassifier, files: Sequence[Path]) -> tuple[list[Prediction], list[str]]:
    """The predictions for the files that can be read, and for each other file the reason why it cannot.

    Raises Unreadable, a DataError, if no file can be read.
    """
    answers: list[Prediction] = []
    unreadable: list[str] = []
    for part in classifier.parts(files):
        rows, outside, reasons = _answered(classifier, part)
        read = [file for number, file in enumerate(part) if number not in reasons]
        unreadable += reasons.values()
        for file, row, out in zip(read, rows.tolist(), outside.tolist(), strict=True):
            probabilities = dict(zip(classifier.classes_.tolist(), row, strict=True))
            label, unknown = max(probabilities, key=probabilities.__getitem__), False
            if classifier.unknown is not None and out:
                label, unknown = str(classifier.unknown), True
            answers.append(Prediction(file, label, probabilities, unknown))
    if files and not answers:
        raise Unreadable(dict(enumerate(unreadable)))
    return answers, unreadable


def _answered(
    classifier: FewShotClassifier, files: Sequence[Path]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Mapping[int, str]]:
    """What `judge` says of the readable files, and why each other file cannot be read, by its index."""
    try:
        return *classifier.judge(files), {}
    except Unreadable as error:
        readable = [file for number, file in enumerate(files) if number not in error.reasons]
        return *classifier.judge(readable), error.reasons


def folder_accuracy(answers: Sequence[Prediction], unknown: str | None = None) -> float | None:
    """The fraction of files whose folder has the name of the predicted class.

    None unless the name of every file's folder is a class, or `unknown`, the label of images of none.
    """
    if not all(answer.file.parent.name in {*answer.probabilities, unknown} for answer in answers):
        return None
    return sum(answer.file.parent.name == answer.label for answer in answers) / len(answers)


def as_text(answers: Sequence[Prediction], *, as_json: bool, provisional: bool = False) -> str:
    """CSV with the header file,label,probability; or one JSON object per line with all probabilities.

    In CSV, an unknown image has no probability; in JSON it is `unknown`.
    JSON holds the names unchanged, and says whether the network is `provisional`. In CSV, the names are made
    safe for a spreadsheet by `csv_cell`.
    """
    if as_json:
        rows = (
            {"file": str(a.file), "label": a.label, "probabilities": a.probabilities, "unknown": a.unknown}
            for a in answers
        )
        return "".join(f"{json.dumps({**row, 'provisional': provisional})}\n" for row in rows)
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["file", "label", "probability"])
    table.writerows(
        [
            csv_cell(str(a.file)),
            csv_cell(a.label),
            "" if a.unknown else f"{a.probabilities[a.label]:.4f}",
        ]
        for a in answers
    )
    return out.getvalue()
