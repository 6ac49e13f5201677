"""Probabilities that fit: the temperature, and how a checkpoint uses it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from nasmeta.cli.main import main
from nasmeta.errors import CheckpointError
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.training.answers import BINS, Answers
from nasmeta.training.calibration import Calibration, Tasks, fit, measured
from nasmeta.training.score import score
from nasmeta.training.trained_network import TrainedNetwork
from tests.classifier.test_stored import STORED
from tests.meta_learners.options import learner


def drawn(temperature: float, queries: int = 20_000, ways: int = 4) -> Answers:
    """Logits whose labels are drawn from softmax(logits / temperature)."""
    rng = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(queries, ways, generator=rng)
    labels = torch.multinomial((logits / temperature).softmax(-1), 1, generator=rng)[:, 0]
    return Answers(logits, labels)


@pytest.mark.parametrize("true", [0.3, 1.0, 7.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    answers = drawn(true)
    assert answers.temperature() == pytest.approx(true, rel=0.05)
    assert answers.calibration_error(answers.temperature()) < 0.01
    if true != 1.0:
        assert answers.calibration_error() > 0.02
        assert answers.loss() > answers.loss(answers.temperature())


def test_it_is_that_of_maximum_likelihood() -> None:
    answers = drawn(3.0, queries=3000)
    best = minimize_scalar(lambda log: answers.loss(math.exp(log)), bounds=(-5, 5), method="bounded")
    assert answers.temperature() == pytest.approx(math.exp(best.x), rel=1e-2)


@pytest.mark.parametrize("scale", [1e-3, 1e5])
def test_it_follows_the_scale_of_the_logits(scale: float) -> None:
    answers = drawn(2.0, queries=500)
    scaled = Answers(answers.logits * scale, answers.labels)
    assert scaled.temperature() == pytest.approx(scale * answers.temperature(), rel=1e-4)


def test_answers_that_are_all_right_are_not_certain() -> None:
    right = Answers(torch.eye(2).repeat(4, 1), torch.tensor([0, 1] * 4))
    probability = float((torch.tensor([1.0, 0.0]) / right.temperature()).softmax(-1)[0])
    assert probability == pytest.approx(1 - 0.5 / 10, abs=1e-6)  # Platt: one of n + 2, shared by two labels


def test_the_calibration_error_by_hand() -> None:
    """Three answers of 0.9, two right; one of 0.6, wrong: bins 14 and 9 of 15."""
    assert BINS == 15
    logits = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]).double().log()
    answers = Answers(logits, torch.tensor([0, 0, 1, 1]))
    assert answers.calibration_error() == pytest.approx((abs(2 - 2.7) + abs(0 - 0.6)) / 4)
    assert answers.loss() == pytest.approx(-(2 * math.log(0.9) + math.log(0.1) + math.log(0.4)) / 4)


def test_what_is_not_finite_is_neither_fitted_nor_measured() -> None:
    chosen, sampler = learner("protonet", "support"), BlobSampler("valid")
    state = init(chosen, conv_network())
    tasks, found = Tasks(chosen, state, sampler, lambda: False), score(chosen, state, sampler, 4)
    assert fit(tasks, found) is not None
    assert fit(tasks, replace(found, loss=math.inf)) is None
    assert fit(tasks, replace(found, answers=None)) is None
    broken = replace(found, answers=Answers(torch.tensor([[1.0, math.inf]]), torch.tensor([0])))
    assert measured(Calibration(2.0), tasks, found) is not None
    assert measured(Calibration(2.0), tasks, broken) is None
    assert measured(None, tasks, found) is None


def test_with_more_shots_distances_and_their_temperature_shrink() -> None:
    """Two normal classes: the temperature of one shot, carried over, is the one that fits five shots."""
    rng = torch.Generator().manual_seed(0)

    def answers(shots: int) -> Answers:
        centres = 2 * torch.randn(2000, 5, 8, generator=rng)
        means = centres + torch.randn(2000, 5, 8, generator=rng) / shots**0.5
        queries = centres + torch.randn(2000, 5, 8, generator=rng)
        logits = -(queries.unsqueeze(2) - means.unsqueeze(1)).square().sum(-1)
        return Answers(logits.flatten(0, 1), torch.arange(5).repeat(2000))

    one = Calibration(answers(1).temperature(), scatter=2.0)
    five = answers(5).temperature()
    assert one.temperature_at(1.2) == pytest.approx(five, rel=0.2)
    assert one.temperature_at(2.0) == one.temperature > 1.3 * five
    assert Calibration(3.0).temperature_at(1.2) == 3.0


def test_a_run_stores_what_evaluate_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    network = TrainedNetwork.load(STORED, trusted=False)
    assert network.calibration is not None
    arguments = [
        *("dataset=strokes", "dataset.size=12", "dataset.train_classes=5", "dataset.valid_classes=5"),
        *("dataset.test_classes=5", "dataset.examples=6", "search_space=conv_small", "task.query=2"),
        *("search_space.widths=[4]", "budget.final_iterations=2", "budget.valid_tasks=2", "device=cpu"),
        *("budget.final_tasks=2", "budget.test_tasks=4", "logger=none", "progress=false"),
    ]
    assert main(["train", network.arch, *arguments, f"hydra.run.dir={run}"]) == 0
    assert "calibration error" in capsys.readouterr().out
    stored = json.loads((run / "summary.json").read_text())["calibration"]
    assert stored["loss"] > 0 < stored["temperature"]
    assert main(["evaluate", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibration"] == stored
    calibration = TrainedNetwork.load(run, trusted=False).calibration
    assert calibration is not None
    assert calibration.temperature == stored["temperature"]


def classified(temperature: float | None, tmp_path: Path) -> tuple[np.ndarray, Tensor]:
    """Probabilities of the stored network for random images, and the logits of its adapted network."""

    calibration = None if temperature is None else Calibration(temperature)
    network = replace(TrainedNetwork.load(STORED, trusted=False), calibration=calibration)
    replace(network, path=tmp_path / "best.pt").save()
    images = list(np.random.default_rng(0).integers(0, 256, (5, 12, 12), dtype=np.uint8))
    classifier = FewShotClassifier.load(tmp_path / "best.pt", device="cpu").fit(images[:2], ["a", "b"])
    inputs = classifier.preprocessing.normalize(classifier.pixels(images))
    return classifier.predict_proba(images), classifier.network(inputs)


def test_a_classifier_divides_its_logits(tmp_path: Path) -> None:
    plain, logits = classified(None, tmp_path)
    warm, divided = classified(2.5, tmp_path)
    torch.testing.assert_close(divided, logits / 2.5)
    np.testing.assert_allclose(warm, (logits / 2.5).softmax(-1), rtol=1e-5)
    assert (warm.argmax(1) == plain.argmax(1)).all()
    assert not np.allclose(warm, plain)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, "hot"])
def test_a_damaged_temperature_is_refused(value: object, tmp_path: Path) -> None:

    payload = torch.load(STORED, weights_only=True)
    torch.save({**payload, "calibration": {"temperature": value}}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="calibration"):
        TrainedNetwork.load(tmp_path / "best.pt", trusted=False)
