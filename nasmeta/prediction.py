"""Labels for the images in a folder, by a checkpoint and a handful of labelled images: `nasmeta predict`."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasmeta.classifier import FewShotClassifier
from nasmeta.datasets.decode import EXTENSIONS
from nasmeta.datasets.folder_layouts import folders, images, is_image
from nasmeta.errors import DataError

LAYOUT = f"expected SUPPORT/CLASS/IMAGE, with IMAGE one of *{', *'.join(EXTENSIONS)}"


@dataclass(frozen=True)
class Prediction:
    """An image, its most probable class, and the probabilities of all classes."""

    file: Path
    label: str
    probabilities: dict[str, float]


def fit_files(classifier: FewShotClassifier, support: Mapping[str, Sequence[Path]]) -> list[Path]:
    """Fits to the image files of each class; returns all of them. Raises DataError as `fit`."""
    files = [file for images in support.values() for file in images]
    classifier.fit(files, [label for label, images in support.items() for _ in images])
    return files


def find_support(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class, of which there are two or more, each with an image. Raises DataError."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {LAYOUT}")
    support = {path.name: images(path) for path in folders(folder)}
    empty = [name for name, files in support.items() if not files]
    if empty:
        raise DataError(f"{folder}: class {empty[0]!r} has no images ({len(empty)} such); {LAYOUT}")
    if len(support) < 2:
        raise DataError(f"{folder}: {len(support)} classes leave nothing to tell apart, at least 2; {LAYOUT}")
    return support


def find_queries(paths: Sequence[Path]) -> list[Path]:
    """The image files among `paths` and in those that are folders, however deep. Raises DataError."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(file for file in path.rglob("*") if is_image(file)) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path}: holds no images; they are called *{', *'.join(EXTENSIONS)}")
        if not path.exists():
            raise DataError(f"{path}: no such file or folder (--query)")
        found += inside
    return found


def predictions(classifier: FewShotClassifier, files: Sequence[Path]) -> list[Prediction]:
    """What the fitted classifier says of each file. Raises DataError that names the unreadable."""
    rows = classifier.predict_proba(files)
    return [
        Prediction(
            file, classifier.classes[row.argmax()], dict(zip(classifier.classes, row.tolist(), strict=True))
        )
        for file, row in zip(files, rows, strict=True)
    ]


def folder_accuracy(answers: Sequence[Prediction]) -> float | None:
    """The fraction that lies in a folder of its class's name; None unless every folder's is a class."""
    if not all(answer.file.parent.name in answer.probabilities for answer in answers):
        return None
    return sum(answer.file.parent.name == answer.label for answer in answers) / len(answers)


def as_text(answers: Sequence[Prediction], *, as_json: bool) -> str:
    """CSV with the header file,label,probability; or one JSON object a line with all probabilities."""
    if as_json:
        rows = ({"file": name(a), "label": a.label, "probabilities": a.probabilities} for a in answers)
        return "".join(f"{json.dumps(row)}\n" for row in rows)
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["file", "label", "probability"])
    table.writerows([name(a), a.label, f"{a.probabilities[a.label]:.4f}"] for a in answers)
    return out.getvalue()


def name(answer: Prediction) -> str:
    """The file's name, as far as it is text."""
    return str(answer.file).encode(errors="surrogateescape").decode(errors="replace")
