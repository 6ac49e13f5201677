"""A best.pt that was stored when its format was current. It must be read for as long as that format is.

Made on a CPU, in a second, from characters that need no files:

nasmeta search dataset=strokes dataset.size=12 dataset.train_classes=5 dataset.valid_classes=5
    dataset.test_classes=5 dataset.examples=6 search_space=conv_small search_space.widths=[4]
    meta_learner=protonet strategy=random budget.trials=1 budget.search_iterations=2
    budget.final_candidates=1 budget.final_iterations=3 budget.valid_tasks=2 budget.test_tasks=20 task.way=3
    task.query=2 batch_norm=running device=cpu seed=1

When format 4 came, the file got the calibration that it asks for.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nasmeta.cli.main import main
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.training.trained_network import FORMAT, TrainedNetwork

STORED = Path(__file__).parent / "stored" / "best-4.pt"


def test_it_is_of_the_current_format() -> None:
    assert torch.load(STORED, weights_only=True)["format"] == FORMAT, "store one of the new format"


def test_it_is_loaded_and_saved_as_it_is(tmp_path: Path) -> None:
    network = TrainedNetwork.load(STORED, trusted=False)
    assert network.arch == "conv3-4.bn.relu.max_conv3-4.bn.relu.max_gap"
    assert (network.task.input_shape, network.task.outputs, network.iterations) == ((1, 12, 12), 3, 3)
    state = network.state(torch.device("cpu"))
    assert all(torch.equal(state.parameters[name], value) for name, value in network.parameters.items())
    replace(network, path=tmp_path / "best.pt").save()
    again = TrainedNetwork.load(tmp_path / "best.pt", trusted=False)
    assert (again.config, again.data, again.metrics) == (network.config, network.data, network.metrics)
    assert again.preprocessing == network.preprocessing
    assert all(torch.equal(again.statistics[name], value) for name, value in network.statistics.items())


def test_it_predicts() -> None:
    classifier = FewShotClassifier.load(STORED, device="cpu")
    bars = np.zeros((2, 12, 12), np.uint8)
    bars[0, 5:7], bars[1, :, 5:7] = 255, 255
    assert classifier.fit(list(bars), ["across", "down"]).predict(list(bars)).tolist() == ["across", "down"]


def test_run_wide_keys_that_no_longer_exist_are_ignored_and_typed_ones_checked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = TrainedNetwork.load(STORED, trusted=False)
    budget = {"test_tasks": 2, "of_old": 1}
    replace(network, path=tmp_path / "best.pt", config={**network.config, "old": 1, "budget": budget}).save()
    assert main(["evaluate", str(tmp_path / "best.pt"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["tasks"] == 2
    assert main(["evaluate", str(tmp_path / "best.pt"), "budget.of_old=1"]) == 2
    assert "budget.of_old: no such key" in capfd.readouterr().err


def test_it_evaluates_as_it_did(capfd: pytest.CaptureFixture[str]) -> None:
    """Although it is older than some run-wide keys, which it lacks."""
    config = TrainedNetwork.load(STORED, trusted=False).config
    assert not {"tune", "keep", "reference_trials"} & {*config, *config["budget"]}
    assert main(["evaluate", str(STORED), "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    metrics = TrainedNetwork.load(STORED, trusted=False).metrics
    assert (result["way"], result["shot"], result["query"], result["tasks"]) == (3, 1, 2, 20)
    assert (result["batch_norm"], result["provisional"], result["data_changed"]) == ("running", False, None)
    assert result["accuracy"] == pytest.approx(metrics["test_accuracy"], abs=0.02)
    assert result["loss"] == pytest.approx(metrics["test_loss"], rel=1e-2)
