"""A run's checkpoint as a classifier of new classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nasmeta import checkpoint
from nasmeta.classifier import FewShotClassifier
from nasmeta.cli import main
from nasmeta.composition import Composition
from nasmeta.config import parse
from nasmeta.errors import CheckpointError, DataError
from nasmeta.evaluation import restore
from tests.classifier.pictures import files, picture
from tests.cli.runs import search


@pytest.mark.parametrize("name", ["maml", "protonet", "transductive"])
def test_on_the_test_tasks_it_is_as_accurate_as_the_summary_says(
    name: str, request: pytest.FixtureRequest
) -> None:
    """The run's own meta-test tasks as pixels: the same probabilities, and so the same accuracy."""
    run: Path = request.getfixturevalue(name)
    saved = checkpoint.load_best(run)
    composition = Composition.of(parse(saved["config"], trusted=False))
    state = restore(run, saved, composition)
    summary = json.loads((run / "summary.json").read_text())
    batch = composition.sampler("test").batch(0, 20)
    mean, std = (
        torch.tensor(saved["preprocessing"][key], dtype=torch.float64)[:, None, None]
        for key in ("mean", "std")
    )

    def pixels(images: torch.Tensor) -> list[NDArray[np.uint8]]:
        values = ((images.double() * std + mean) * 255).round().byte()
        return [image.permute(1, 2, 0).numpy() for image in values]

    classifier = FewShotClassifier.load(run, device="cpu")
    right = []
    for support_x, support_y, query_x, query_y in zip(*batch[:4], strict=True):
        classifier.fit(pixels(support_x), support_y.tolist())
        probabilities = classifier.predict_proba(pixels(query_x))
        expected = composition.learner.predict(state, support_x[None], support_y[None], query_x[None])[0]
        assert np.allclose(probabilities, expected.softmax(-1).numpy(), rtol=1e-3, atol=1e-4)
        right += (np.array(classifier.predict(pixels(query_x))) == query_y.numpy()).tolist()
    assert len(right) == 20 * 9
    assert np.mean(right) == pytest.approx(summary["best"]["test_accuracy"], abs=0.5 / len(right))


@pytest.mark.parametrize("name", ["maml", "protonet"])
def test_neither_order_nor_company_matters(name: str, root: Path, request: pytest.FixtureRequest) -> None:
    classifier = FewShotClassifier.load(request.getfixturevalue(name), device="cpu")
    support, labels = files(root, [9, 3, 12], range(2))
    queries, _ = files(root, [3, 9, 12], range(2, 6))
    expected = classifier.fit(support, labels).predict_proba(queries)
    assert classifier.classes == ("c03", "c09", "c12")
    assert np.allclose(expected.sum(1), 1, atol=1e-5)
    alone = np.concatenate([classifier.predict_proba([query]) for query in queries])
    assert np.allclose(alone, expected, atol=1e-5)
    order = [4, 1, 5, 0, 3, 2]
    shuffled = classifier.fit([support[i] for i in order], [labels[i] for i in order])
    assert np.allclose(shuffled.predict_proba(queries), expected, atol=1e-4)
    opened = [Image.open(query) for query in queries]
    assert np.allclose(classifier.predict_proba(opened), expected, atol=1e-4)
    assert classifier.predict_proba([]).shape == (0, 3)
    assert classifier.predict([]) == []


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
    with pytest.raises(DataError, match="6 classes: Maml meta-learned a head for 3; use at most 3"):
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
    with pytest.raises(DataError, match="1 classes leave nothing to tell apart"):
        classifier.fit(support[:2], labels[:2])
    with pytest.raises(DataError, match="float64 numbers; pixels are uint8"):
        classifier.fit([np.zeros((16, 16, 3))] * 4, labels)  # type: ignore[list-item]


def test_a_fit_that_fails_changes_nothing(root: Path, protonet: Path, tmp_path: Path) -> None:
    classifier = FewShotClassifier.load(protonet, device="cpu").fit(*files(root, [0, 1, 2], range(2)))
    queries, _ = files(root, [0, 1, 2], range(2, 4))
    before = classifier.predict_proba(queries)
    with pytest.raises(DataError, match="cannot be read as an image"):
        classifier.fit([*queries[:2], tmp_path / "none.png"], ["a", "b", "b"])
    classifier._network = None  # adapted anew
    assert np.array_equal(classifier.predict_proba(queries), before)


def test_its_dataset_is_not_needed(root: Path, protonet: Path, tmp_path: Path) -> None:
    """The network was meta-learned elsewhere: its configuration names a folder that is not here."""
    saved = checkpoint.load_best(protonet)
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
        ({"size": "big"}, "its preprocessing is damaged"),
        ({"mean": None}, "its preprocessing is damaged"),
        ({"std": (1.0,)}, "gives other images than its network takes"),
        ({"std": (1.0, 0.0, 1.0)}, "gives other images than its network takes"),
    ],
)
def test_a_foreign_preprocessing_is_refused(
    changed: dict[str, Any], message: str, protonet: Path, tmp_path: Path
) -> None:
    saved = checkpoint.load_best(protonet)
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
    assert "was meta-learned on regression tasks that are no image files" in capsys.readouterr().err
