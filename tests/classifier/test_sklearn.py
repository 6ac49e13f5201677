"""The classifier is an estimator of scikit-learn, which is not needed to use it without."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasmeta.errors import DataError
from nasmeta.trained.classifier import FewShotClassifier
from tests.classifier.pictures import files

sklearn = pytest.mark.extra("sklearn")


def test_parameters_are_read_and_changed(root: Path, protonet: Path, maml: Path) -> None:
    classifier = FewShotClassifier(protonet, device="cpu")
    expected = {"checkpoint": protonet, "device": "cpu", "trusted": False, "unknown": None}
    assert classifier.get_params() == expected
    arch = classifier.fit(*files(root, [0, 1, 2], range(2))).arch
    assert classifier.set_params(checkpoint=maml) is classifier
    assert classifier.get_params()["checkpoint"] == maml
    assert classifier.arch != arch
    assert not hasattr(classifier, "classes_")
    with pytest.raises(TypeError, match="chekpoint"):
        classifier.set_params(chekpoint=maml)


def test_nothing_is_read_before_it_is_needed(tmp_path: Path) -> None:
    assert (
        repr(FewShotClassifier("gone"))
        == "FewShotClassifier(checkpoint='gone', device='auto', trusted=False, unknown=None)"
    )
    pickle.loads(pickle.dumps(FewShotClassifier(tmp_path / "gone")))


def test_the_score_is_the_accuracy(root: Path, maml: Path) -> None:
    classifier = FewShotClassifier(maml, device="cpu").fit(*files(root, [0, 1, 2], range(2)))
    queries, labels = files(root, [0, 1, 2], range(2, 6))
    right = [a == b for a, b in zip(classifier.predict(queries), labels, strict=True)]
    assert 0 < classifier.score(queries, labels) == np.mean(right) < 1
    assert classifier.score(queries, labels, sample_weight=right) == 1
    with pytest.raises(DataError, match=f"score: {len(queries)} images and 1 labels"):
        classifier.score(queries, labels[:1])


@pytest.mark.parametrize("labels", [["b", "a"], [2, 1], [0.5, 2.5], ["b", 1], [True, False]], ids=str)
def test_classes_are_an_array_of_the_labels(labels: list[Any], root: Path, protonet: Path) -> None:
    paths, _ = files(root, [0, 1], range(2))
    classifier = FewShotClassifier(protonet, device="cpu").fit(paths, [labels[0]] * 2 + [labels[1]] * 2)
    assert sorted(classifier.classes_.tolist(), key=str) == sorted(labels, key=str)
    assert {type(label) for label in classifier.predict(paths).tolist()} <= {type(label) for label in labels}


@sklearn
def test_scikit_learn_takes_it_for_a_classifier(protonet: Path) -> None:
    from sklearn.base import is_classifier
    from sklearn.utils import estimator_checks as checks

    classifier = FewShotClassifier(protonet, device="cpu")
    assert is_classifier(classifier)
    with pytest.warns(match="requires input"):  # the other checks fit tables of numbers
        checks.check_estimator(classifier)
    for check in (
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
        checks.check_estimator_repr,
        checks.check_no_attributes_set_in_init,
        checks.check_do_not_raise_errors_in_init_or_set_params,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_mixin_order,
        checks.check_parameters_default_constructible,
    ):
        check("FewShotClassifier", classifier)


@sklearn
def test_it_is_fitted_and_cloned(root: Path, protonet: Path) -> None:
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    classifier = FewShotClassifier.load(protonet, device="cpu").fit(*files(root, [0, 1], range(2)))
    check_is_fitted(classifier)
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)


@sklearn
@pytest.mark.parametrize("form", ["paths", "arrays"])
def test_it_works_in_pipelines_and_is_cross_validated(form: str, root: Path, protonet: Path) -> None:
    """Each fold's accuracy is what fitting and predicting by hand gives."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    paths, labels = files(root, [3, 7, 11], range(6))
    images = paths if form == "paths" else np.stack([pixels(path) for path in paths])
    classifier = FewShotClassifier(protonet, device="cpu")
    pipeline = make_pipeline(FunctionTransformer(), classifier)
    scores = cross_val_score(pipeline, images, labels, cv=3)
    by_hand = []
    for train, test in StratifiedKFold(3).split(labels, labels):
        fitted = FewShotClassifier(protonet, device="cpu").fit(
            [paths[i] for i in train], [labels[i] for i in train]
        )
        by_hand.append(fitted.score([paths[i] for i in test], [labels[i] for i in test]))
    assert scores.tolist() == by_hand
    assert cross_val_score(classifier, images, labels, cv=3, scoring="neg_log_loss").shape == (3,)
    assert cross_val_predict(classifier, images, labels, cv=3).shape == (len(labels),)
    search = GridSearchCV(classifier, {"device": ["cpu", "auto"]}, cv=2).fit(images, labels)
    assert search.best_estimator_.predict(images[:2]).shape == (2,)


def pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path))
