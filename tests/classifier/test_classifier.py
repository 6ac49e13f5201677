"""A run's checkpoint as a classifier of new classes."""

import copy
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nasmeta.cli.main import main
from nasmeta.errors import CheckpointError, DataError
from nasmeta.trained import classifier as classifier_module
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.trained.meta_test import MetaTest
from nasmeta.training import checkpoint
from tests.classifier.pictures import files, picture
from tests.cli.runs import search


@pytest.mark.parametrize("name", ["maml", "protonet", "transductive"])
def test_on_the_test_tasks_it_is_as_accurate_as_the_summary_says(
    name: str, request: pytest.FixtureRequest
) -> None:
    """The run's own meta-test tasks as pixels: the same probabilities, and so the same accuracy."""
    run: Path = request.getfixturevalue(name)
    test = MetaTest.of(run, [], trusted=False)
    stored, learner, state = test.stored, test.learner, test.state
    assert stored.preprocessing is not None
    summary = json.loads((run / "summary.json").read_text())
    batch = test.sampler().batch(0, 20)
    mean, std = (
        torch.tensor(moment, dtype=torch.float64)[:, None, None]
        for moment in (stored.preprocessing.mean, stored.preprocessing.std)
    )

    def pixels(images: torch.Tensor) -> list[NDArray[np.uint8]]:
        values = ((images.double() * std + mean) * 255).round().byte()
        return [image.permute(1, 2, 0).numpy() for image in values]

    classifier = FewShotClassifier.load(run, device="cpu")
    right = []
    for support_x, support_y, query_x, query_y in zip(*(part[:8] for part in batch[:4]), strict=True):
        classifier.fit(pixels(support_x), support_y.tolist())
        probabilities = classifier.predict_proba(pixels(query_x))
        expected = learner.predict(state, support_x[None], support_y[None], query_x[None])[0]
        calibrated = (expected / classifier.temperature).softmax(-1).numpy()
        assert np.allclose(probabilities, calibrated, rtol=1e-3, atol=1e-4)
        right += (np.array(classifier.predict(pixels(query_x))) == query_y.numpy()).tolist()
    assert len(right) == 8 * 9
    assert np.mean(right) == pytest.approx(summary["best"]["test_accuracy"], abs=0.5 / len(right))


@pytest.mark.parametrize("name", ["maml", "protonet"])
def test_neither_order_nor_company_matters(name: str, root: Path, request: pytest.FixtureRequest) -> None:
    classifier = FewShotClassifier.load(request.getfixturevalue(name), device="cpu")
    support, labels = files(root, [9, 3, 12], range(2))
    queries, _ = files(root, [3, 9, 12], range(2, 6))
    expected = classifier.fit(support, labels).predict_proba(queries)
    assert classifier.classes_.tolist() == ["c03", "c09", "c12"]
    assert np.allclose(expected.sum(1), 1, atol=1e-5)
    alone = np.concatenate([classifier.predict_proba([query]) for query in queries])
    assert np.allclose(alone, expected, atol=1e-5)
    order = [4, 1, 5, 0, 3, 2]
    shuffled = classifier.fit([support[i] for i in order], [labels[i] for i in order])
    assert np.allclose(shuffled.predict_proba(queries), expected, atol=1e-4)
    opened = [Image.open(query) for query in queries]
    assert np.allclose(classifier.predict_proba(opened), expected, atol=1e-4)
    assert classifier.predict_proba([]).shape == (0, 3)
    assert classifier.predict([]).tolist() == []


def test_company_matters_under_transductive(root: Path, transductive: Path) -> None:
    classifier = FewShotClassifier.load(transductive, device="cpu").fit(*files(root, [1, 2, 3], range(2)))
    queries, _ = files(root, [1, 2, 3], range(2, 6))
    together = classifier.predict_proba(queries)
    assert not np.allclose(classifier.predict_proba(queries[:2]), together[:2], atol=1e-5)


def test_classes_may_differ_in_size_and_number(root: Path, maml: Path, protonet: Path) -> None:
    many, labels = files(root, [0, 1, 2, 3, 4, 5], range(3))
    uneven = slice(1, None)  # one class has two examples, the others three
    classifier = FewShotClassifier.load(protonet, device="cpu").fit(many[uneven], labels[uneven])
    assert classifier.predict_proba(many[:2]).shape == (2, 6)
    of_three = FewShotClassifier.load(maml, device="cpu")
    with pytest.raises(DataError, match="6 classes: fomaml meta-learned a head for 3; use at most 3"):
        of_three.fit(many, labels)
    two, labels = files(root, [4, 5], range(3))
    assert of_three.fit(two[uneven], labels[uneven]).predict_proba(two).shape == (6, 2)
    assert set(of_three.predict(many)) <= {"c04", "c05"}


def test_what_cannot_be_fitted_is_said(root: Path, protonet: Path) -> None:
    classifier = FewShotClassifier.load(protonet, device="cpu")
    support, labels = files(root, [0, 1], range(2))
    with pytest.raises(DataError, match="call fit"):
        classifier.predict(support)
    with pytest.raises(DataError, match="4 images and 3 labels"):
        classifier.fit(support, labels[:3])
    with pytest.raises(DataError, match="fit: labels of 1 class"):
        classifier.fit(support[:2], labels[:2])


def test_a_fit_that_fails_changes_nothing(root: Path, protonet: Path, tmp_path: Path) -> None:
    classifier = FewShotClassifier.load(protonet, device="cpu").fit(*files(root, [0, 1, 2], range(2)))
    queries, _ = files(root, [0, 1, 2], range(2, 4))
    before = classifier.predict_proba(queries)
    with pytest.raises(DataError, match=r"none\.png: "):
        classifier.fit([*queries[:2], tmp_path / "none.png"], ["a", "b", "b"])
    classifier._network = None  # adapted anew
    assert np.array_equal(classifier.predict_proba(queries), before)


def test_its_dataset_is_not_needed(root: Path, protonet: Path, tmp_path: Path) -> None:
    """The network was meta-learned elsewhere: its configuration names a folder that is not here."""
    saved = checkpoint.load(protonet / "best.pt")
    saved["config"]["dataset"]["root"] = str(tmp_path / "gone")
    saved["config"]["device"] = "cuda:7"
    checkpoint.save(tmp_path / "best.pt", saved)
    support = files(root, [0, 1], range(2))
    moved = FewShotClassifier.load(tmp_path / "best.pt", device="cpu").fit(*support)
    at_home = FewShotClassifier.load(protonet, device="cpu").fit(*support)
    assert np.array_equal(moved.predict_proba(support[0]), at_home.predict_proba(support[0]))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"size": 20}, "gives other images than its network takes"),
        ({"channels": 7}, "gives other images than its network takes"),
        ({"size": "big"}, "preprocessing"),
        ({"mean": None}, "preprocessing"),
        ({"std": (1.0,)}, "gives other images than its network takes"),
        ({"std": (1.0, 0.0, 1.0)}, "gives other images than its network takes"),
    ],
)
def test_a_foreign_preprocessing_is_refused(
    changed: dict[str, Any], message: str, protonet: Path, tmp_path: Path
) -> None:
    saved = checkpoint.load(protonet / "best.pt")
    saved["preprocessing"] |= changed
    checkpoint.save(tmp_path / "best.pt", saved)
    with pytest.raises(CheckpointError, match=message):
        FewShotClassifier.load(tmp_path / "best.pt")


def test_a_network_for_other_inputs_is_no_classifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(tmp_path / "run") == 0  # on the sinusoid
    for label in ("a", "b"):
        (tmp_path / "support" / label).mkdir(parents=True)
        Image.fromarray(picture(1, 1)).save(tmp_path / "support" / label / "1.png")
    shown = ["--support", str(tmp_path / "support"), "--query", str(tmp_path / "support")]
    assert main(["predict", str(tmp_path / "run"), *shown]) == 2
    assert "best.pt: was meta-learned on regression tasks" in capsys.readouterr().err


@pytest.fixture(scope="module")
def fitted(root: Path, protonet: Path) -> FewShotClassifier:
    return FewShotClassifier.load(protonet, device="cpu").fit(*files(root, [0, 1, 2], range(2)))


FILE_FORMS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "open file": lambda path: path.open("rb"),
    "bytes": Path.read_bytes,
    "stream that was read": lambda path: _read_to_the_end(io.BytesIO(path.read_bytes())),
    "pillow": Image.open,
    "array": lambda path: np.asarray(Image.open(path)),
    "channels first": lambda path: np.asarray(Image.open(path)).transpose(2, 0, 1),
    "tensor": lambda path: torch.from_numpy(np.array(Image.open(path)).transpose(2, 0, 1)),
    "integers": lambda path: torch.from_numpy(np.array(Image.open(path))).long(),
    "fractions": lambda path: torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255,
    "double precision": lambda path: np.asarray(Image.open(path)).astype(np.float64) / 255,
    "opaque": lambda path: np.asarray(Image.open(path).convert("RGBA")),
}


def _read_to_the_end(stream: io.BytesIO) -> io.BytesIO:
    stream.read()
    return stream


@pytest.mark.parametrize("form", FILE_FORMS)
def test_a_picture_may_have_any_form(form: str, root: Path, fitted: FewShotClassifier) -> None:
    """The answer is that of the file, for the picture alone and in a list, a tuple or a generator."""
    path = root / "c01" / "4.png"
    expected, twice = fitted.predict_proba([path]), fitted.predict_proba([path, path])
    np.testing.assert_allclose(twice, np.repeat(expected, 2, 0), atol=1e-6)
    make = FILE_FORMS[form]
    assert np.array_equal(fitted.predict_proba(make(path)), expected)
    assert np.array_equal(fitted.predict_proba((make(path), make(path))), twice)
    assert np.array_equal(fitted.predict_proba(make(path) for _ in range(2)), twice)


def test_a_batch_may_be_an_array(root: Path, fitted: FewShotClassifier) -> None:
    paths, _ = files(root, [0, 1, 2], range(2, 4))
    expected = fitted.predict_proba(paths)
    colour = np.stack([np.asarray(Image.open(path)) for path in paths])
    assert np.array_equal(fitted.predict_proba(colour), expected)
    assert np.array_equal(fitted.predict_proba(torch.from_numpy(colour).permute(0, 3, 1, 2)), expected)
    assert np.array_equal(fitted.predict_proba(np.array([str(path) for path in paths])), expected)
    grey = np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])
    assert np.array_equal(fitted.predict_proba(grey), fitted.predict_proba(list(grey[..., None])))


@pytest.mark.parametrize(
    "images, problem",
    [
        (7, "got int; a picture is a path"),
        ([7], "picture 0: got int; a picture is a path"),
        ([None], "picture 0: got NoneType"),
        ({"a.png": 1}, "a dict has no order"),
        ({"a.png"}, "a set has no order"),
        ([np.zeros((16, 16, 2), np.uint8)], r"picture 0: .* \[16, 16, 2\]"),
        ([np.zeros((1, 3, 16, 16), np.uint8)], r"picture 0: .* \[1, 3, 16, 16\]"),
        ([np.zeros((0, 16), np.uint8)], r"picture 0: .* \[0, 16\]"),
        (np.zeros((4, 16, 16), np.uint8), r"\[4, 16, 16\] "),
        ([np.full((16, 16), 255.0)], "picture 0: .* 255 to 255; .* 0 to 1"),
        ([torch.randn(3, 16, 16)], "picture 0: .* -"),
        ([np.full((16, 16), -1)], "picture 0: .* -1 to -1; .* 0 to 65535"),
        ([np.zeros((16, 16), complex)], "picture 0: complex128 "),
        ([io.StringIO("text")], "picture 0: .* str; .*'rb'"),
        ([b"no image"], "picture 0: "),
        (["/"], "^/: "),
        ("none.png", "^none.png: "),
    ],
)
def test_what_is_no_picture_is_one_line(images: Any, problem: str, fitted: FewShotClassifier) -> None:
    with pytest.raises(DataError, match=problem) as raised:
        fitted.predict(images)
    assert "\n" not in str(raised.value)


def test_pictures_are_numbered_as_they_were_given(
    root: Path, fitted: FewShotClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the classes' order, and in the second part of many."""
    good = (root / "c00" / "0.png").read_bytes()
    with pytest.raises(DataError, match=r"^picture 1: "):
        fitted.fit([good, b"bad", good], ["b", "c", "a"])
    monkeypatch.setattr(classifier_module, "AT_ONCE", 2)
    with pytest.raises(DataError, match=r"^picture 3: "):
        fitted.predict([good, good, good, b"bad"])


LABEL_FORMS: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "generator": iter,
    "tensor": torch.tensor,
    "list of tensors": lambda labels: list(torch.tensor(labels)),
    "array": np.array,
    "list of numbers of numpy": lambda labels: list(np.array(labels, dtype=np.int16)),
    "array of text": lambda labels: np.array([str(label) for label in labels]),
    "fractions": lambda labels: torch.tensor(labels).double(),
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_labels_may_have_any_form(form: str, root: Path, protonet: Path) -> None:
    """Images of one label are one class, and what is predicted are the labels that were given."""
    classifier = FewShotClassifier.load(protonet, device="cpu")
    paths, _ = files(root, [0, 1, 2], range(2))
    numbers = [5, 5, 3, 3, 9, 9]
    expected = classifier.fit(paths, numbers).predict(paths)
    probabilities = classifier.predict_proba(paths)
    classifier.fit(paths, LABEL_FORMS[form](numbers))
    assert len(classifier.classes_) == 3
    assert [int(label) for label in classifier.predict(paths)] == expected.tolist()
    assert np.array_equal(classifier.predict_proba(paths), probabilities)


@pytest.mark.parametrize(
    "labels, problem",
    [
        ("aabbcc", "labels: got 'aabbcc'; pass a list"),
        (None, "labels: got None"),
        ({"a": 1}, "labels: got {'a': 1}"),
        (torch.tensor(3), "labels: got 3"),
        ([float("nan"), 1, 1, 2, 2, 2], "label 0: got nan"),
        (torch.tensor([1, 1, 2, 2, float("nan"), 3]), "label 4: got nan"),
        (torch.eye(6), r"label 0: got \[1.0, 0.0"),
        ([None] * 6, "label 0: got None"),
        ([["a"], ["b"]] * 3, r"label 0: got \['a'\]"),
        ([torch.ones(2)] * 6, "label 0: got tensor"),
    ],
)
def test_what_is_no_label_is_one_line(labels: Any, problem: str, root: Path, protonet: Path) -> None:
    classifier = FewShotClassifier.load(protonet, device="cpu")
    with pytest.raises(DataError, match=problem) as raised:
        classifier.fit(files(root, [0, 1, 2], range(2))[0], labels)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["maml", "protonet", "transductive"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it)), copy.copy])
def test_it_can_be_pickled_and_copied(
    name: str, copied: Callable[[Any], Any], root: Path, request: pytest.FixtureRequest
) -> None:
    """Before it is fitted, fitted, and after it has answered; what the copy learns is the copy's own."""
    classifier = FewShotClassifier.load(request.getfixturevalue(name), device="cpu")
    queries, _ = files(root, [0, 1, 2], range(2, 5))
    support = files(root, [0, 1, 2], range(2))
    fresh = copied(classifier).fit(*support)
    expected = classifier.fit(*support).predict_proba(queries)
    assert np.array_equal(fresh.predict_proba(queries), expected)
    other = copied(classifier)
    assert np.array_equal(other.predict_proba(queries), expected)
    other.fit(*files(root, [7, 8], range(2)))
    assert other.classes_.tolist() == ["c07", "c08"]
    assert np.array_equal(classifier.predict_proba(queries), expected)
