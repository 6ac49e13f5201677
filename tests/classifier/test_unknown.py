"""Queries that belong to no class: their distance, its threshold, and what a classifier says of them."""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nasmeta.cli.main import main
from nasmeta.errors import ConfigError, DataError
from nasmeta.task import TaskBatch
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.training.calibration import Calibration
from nasmeta.training.trained_network import TrainedNetwork
from nasmeta.training.unknown import RATE, Distances, Prototypes, measure
from tests.classifier.pictures import files
from tests.meta_learners.options import learner


@pytest.mark.parametrize("shots", [1, 5, 20])
def test_the_distance_does_not_depend_on_the_shots(shots: int) -> None:
    """It is chi-squared with 8 degrees of freedom, over many prototypes."""
    found = []
    for seed in range(40):
        rng = torch.Generator().manual_seed(seed)
        support = torch.randn(shots, 8, generator=rng)
        queries = torch.randn(200, 8, generator=rng)
        prototypes = Prototypes.of(
            torch.cat([support, 100 + support]), torch.arange(2).repeat_interleave(shots)
        )
        found.append(prototypes.distances(queries)[:, 0])
    assert float(torch.cat(found).mean()) == pytest.approx(8, rel=0.1)


def test_prototypes_are_means_of_any_number_of_shots() -> None:
    embeddings = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]])
    prototypes = Prototypes.of(embeddings, torch.tensor([0, 0, 1]))
    assert prototypes.means.tolist() == [[1.0, 0.0], [5.0, 5.0]]
    assert prototypes.distances(torch.tensor([[1.0, 3.0]])).tolist() == [[9 / 1.5, 20 / 2]]


def test_the_threshold_refuses_the_rate_of_a_classs_own_queries() -> None:
    own = torch.arange(1000.0)
    distances = Distances(own, own / 2, torch.tensor([1.0, 2000.0]))
    assert distances.errors(distances.threshold) == (0.0, 0.5)
    assert float((own > distances.threshold).double().mean()) == pytest.approx(RATE, abs=1e-3)
    assert Distances(own, own, torch.tensor([])).errors(10.0)[1] is None


def test_foreign_queries_are_those_of_classes_outside_the_task() -> None:
    """Tasks of blobs, measured by themselves: with the same classes in all tasks none is foreign."""
    chosen = learner("protonet", "support")
    state = init(chosen, conv_network())
    batch = BlobSampler("valid").batch(0, 4)
    found = measure(chosen, state, [batch])
    assert found is not None
    outside = sum(
        int((~torch.isin(batch.classes[t - 1][batch.query_y[t - 1]], batch.classes[t])).sum())
        for t in range(4)
    )
    assert (len(found.own), len(found.foreign)) == (batch.query_y.numel(), outside)
    assert (found.nearest <= found.own).all()
    same = TaskBatch(*batch[:4], batch.classes[:1].expand_as(batch.classes))
    alone = measure(chosen, state, [same])
    assert alone is not None
    assert len(alone.foreign) == 0


def test_a_transductive_network_has_no_threshold(transductive: Path) -> None:
    calibration = TrainedNetwork.load(transductive, trusted=False).calibration
    assert calibration is not None
    assert calibration.threshold is None
    images, labels = [np.zeros((16, 16, 3), np.uint8)] * 2, ["a", "b"]
    with pytest.raises(ConfigError, match="threshold"):
        FewShotClassifier(transductive, unknown="none").fit(images, labels)


def with_threshold(checkpoint: Path, threshold: float, path: Path) -> Path:
    network = TrainedNetwork.load(checkpoint, trusted=False)
    replace(network, path=path, calibration=Calibration(1.0, threshold)).save()
    return path


def test_a_classifier_gives_images_that_are_too_far_the_label(
    protonet: Path, root: Path, tmp_path: Path
) -> None:
    support, labels = files(root, [2, 7], range(3))
    queries, _ = files(root, [2, 7], range(3, 6))
    images = [*queries, *np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)]
    plain = FewShotClassifier(protonet, device="cpu").fit(support, labels)

    def embedded(pictures: Sequence[Any]) -> NDArray[np.float32]:
        return plain.network.embed(plain.preprocessing.normalize(plain.pixels(pictures))).numpy()

    means = np.stack([embedded(support[:3]).mean(0), embedded(support[3:]).mean(0)])
    offsets = embedded(images)[:, None] - means
    distances = np.square(offsets).sum(-1).min(1) / (1 + 1 / 3)
    threshold = float(np.sort(distances)[len(queries) - 1 : len(queries) + 1].mean())
    assert (distances[: len(queries)] < threshold).all(), "noise is farther than the classes' pictures"
    checkpoint = with_threshold(protonet, threshold, tmp_path / "best.pt")
    strict = FewShotClassifier(checkpoint, device="cpu", unknown="none of these").fit(support, labels)
    probabilities, outside = strict.judge(images)
    assert outside.tolist() == [False] * len(queries) + [True] * 5
    expected = [*plain.predict(queries).tolist(), *["none of these"] * 5]
    assert strict.predict(images).tolist() == expected
    assert probabilities.argmax(1).tolist() == plain.predict_proba(images).argmax(1).tolist()
    assert set(plain.predict(images)) <= {"c02", "c07"}
    with pytest.raises(DataError, match="c02"):
        FewShotClassifier(checkpoint, device="cpu", unknown="c02").fit(support, labels)
    numbers = FewShotClassifier(checkpoint, device="cpu", unknown=-1)
    numbers.fit(support, [int(label[1:]) for label in labels])
    assert set(numbers.predict(images[-5:]).tolist()) == {-1}


def test_predict_says_what_is_unknown(
    protonet: Path,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("c02", "c07"):
        shutil.copytree(root / name, tmp_path / "support" / name)
    (tmp_path / "queries" / "other").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "queries" / "other" / "noise.png")
    command = [
        "predict",
        str(protonet),
        "--support",
        str(tmp_path / "support"),
        "--query",
        str(tmp_path / "queries"),
    ]
    assert main([*command, "--unknown", "--device", "cpu"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["label"], row["probability"]) == ("unknown", "")
    with caplog.at_level("INFO"):
        assert main([*command, "--json", "--unknown", "other", "--device", "cpu"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["label"], answer["unknown"], set(answer["probabilities"])) == (
        "other",
        True,
        {"c02", "c07"},
    )
    assert "100.0 % of 1" in caplog.text


def test_the_rates_of_a_run_are_stored(protonet: Path) -> None:
    stored = json.loads((protonet / "summary.json").read_text())["calibration"]
    assert stored["rejects_aimed_at"] == RATE
    assert 0 <= stored["false_rejects"] <= 1
    assert stored["false_accepts"] is None  # a task has all three test classes, so none is foreign
    assert TrainedNetwork.load(protonet, trusted=False).metrics["calibration"] == stored
