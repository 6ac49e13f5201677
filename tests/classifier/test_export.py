"""Exported files say what the networks say: every space, learner and head; and `nasmeta export`."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasmeta import seeding
from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.datasets.decode import Preprocessing
from nasmeta.errors import ConfigError, RunFailed
from nasmeta.meta_learners.base import adopt_population
from nasmeta.run.composition import Composition
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.trained.export import format
from nasmeta.trained.export.check import Accuracies
from nasmeta.trained.export.export import FORMATS, Int8, write
from nasmeta.trained.export.pixels import OfPixels
from nasmeta.trained.meta_learned import MetaLearned
from tests.classifier.pictures import files

pytestmark = pytest.mark.extra("onnx")

ONNX = FORMATS["onnx"]

SMALL = [
    "dataset.train_classes=12",
    "dataset.valid_classes=8",
    "dataset.test_classes=8",
    "task.way=4",
    "task.query=2",
    "device=cpu",
]


def onnx_session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path)


def exact_session(path: Path) -> Any:
    """A session that adds int8's products exactly also on x86 without VNNI, where their sums may saturate."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(path, options)


def untrained(*overrides: str, number: int = 0) -> FewShotClassifier:
    """The classifier of a random architecture, whose norms have seen a few images."""
    composition = Composition.of(parse(composed([*SMALL, *overrides]), trusted=False))
    learner = composition.learner
    arch = composition.space.sample(seeding.stream(number, "export test"))
    state = composition.problem.initial_state(arch)
    adopt_population(learner, state, [composition.sampler("train").batch(0, 2)])
    assert composition.dataset.preprocessing is not None
    classifier = FewShotClassifier("untrained")
    classifier._meta_learned = MetaLearned(
        learner, state, composition.dataset.preprocessing, str(arch), provisional=False
    )
    return classifier


def pictures(count: int, channels: int = 1) -> list[np.ndarray]:
    images = seeding.stream(1, "export test").integers(0, 256, (count, 28, 28, channels), dtype=np.uint8)
    return list(images.squeeze(-1) if channels == 1 else images)


@pytest.mark.parametrize(
    "overrides",
    [
        *(["search_space=conv", f"seed={i}"] for i in range(4)),
        ["search_space=conv_small", "meta_learner=ridge"],
        ["search_space=conv_small", "meta_learner.distance=cosine", "batch_norm=running"],
        ["search_space=nasbench201", "search_space.width=4", "meta_learner=fomaml"],
        ["search_space=darts", "search_space.width=4", "meta_learner=reptile", "meta_learner.test_steps=2"],
    ],
    ids=" ".join,
)
def test_the_file_answers_as_the_classifier_does(overrides: list[str], tmp_path: Path) -> None:
    seeds = [override for override in overrides if override.startswith("seed=")]
    classifier = untrained(*overrides, number=int(seeds[0][5:]) if seeds else 0)
    classifier.fit(pictures(8), ["b", "a", "d", "c"] * 2)
    path = tmp_path / "classifier.onnx"
    queries = pictures(5)
    expected = classifier.predict_proba(queries)  # of the network before it is prepared for the file
    write(classifier, path, ONNX, pictures(3))
    session = onnx_session(path)
    (answers,) = session.run(["probabilities"], {"pixels": classifier.pixels(queries).numpy()})
    assert np.allclose(answers, expected, rtol=1e-3, atol=1e-3)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == ["a", "b", "c", "d"]
    assert Preprocessing(**json.loads(metadata["preprocessing"])).size == 28
    assert metadata["arch"] == classifier.arch


def test_the_embedding_network(tmp_path: Path) -> None:
    classifier = untrained("batch_norm=running", "search_space=conv_small")
    write(classifier, tmp_path / "embedding.onnx", ONNX)
    session = onnx_session(tmp_path / "embedding.onnx")
    pixels = classifier.pixels(pictures(3))
    (embeddings,) = session.run(["embeddings"], {"pixels": pixels.numpy()})
    expected = classifier.body(classifier.preprocessing.normalize(pixels))
    assert np.allclose(embeddings, expected.numpy(), rtol=1e-3, atol=1e-4)
    assert embeddings.std() > 1e-3


def test_a_file_that_answers_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = untrained("search_space=conv_small").fit(pictures(4), ["a", "b", "c", "d"])
    converted = ONNX.converted

    def wrong(module: OfPixels, *rest: Any) -> bytes:
        return converted(OfPixels(module.body, module.head, replace(module.preprocessing, std=(0.5,))), *rest)

    monkeypatch.setattr(ONNX, "converted", wrong)
    with pytest.raises(RunFailed, match="the exported network differs"):
        write(classifier, tmp_path / "classifier.onnx", ONNX)
    assert not list(tmp_path.iterdir())


def test_what_has_no_network_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_norm: support normalizes by the images of a task"):
        write(untrained("search_space=conv_small"), tmp_path / "x.onnx", ONNX)
    alone = untrained("search_space=conv_small", "batch_norm=transductive", "search_space.norms=[bn]")
    alone.fit(pictures(4), ["a", "b", "c", "d"])
    with pytest.raises(ConfigError, match="batch_norm: transductive"):
        write(alone, tmp_path / "x.onnx", ONNX)


@pytest.mark.parametrize("name", FORMATS)
def test_without_the_extra_it_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"pip install 'nasmeta\[{name}\]'"):
        FORMATS[name].check_installed()


def support(root: Path, folder: Path) -> Path:
    """A folder with two images of two classes."""
    for file in files(root, [2, 3], range(2))[0]:
        place = folder / "support" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        (place / file.name).write_bytes(file.read_bytes())
    return folder / "support"


def test_the_command(
    root: Path,
    maml: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "two classes.onnx"
    command = ["export", str(maml), "--support", str(support(root, tmp_path)), "--output", str(output)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{output}\n"
    session = onnx_session(output)
    queries, _ = files(root, [2, 3], range(2, 5))
    classifier = FewShotClassifier.load(maml, device="cpu").fit(*files(root, [2, 3], range(2)))
    answers, _ = session.run(None, {"pixels": classifier.pixels(queries).numpy()})
    assert np.allclose(answers, classifier.predict_proba(queries), rtol=1e-3, atol=1e-4)
    before = output.read_bytes()
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert output.read_bytes() == before
    assert main(["export", str(maml), "--output", str(tmp_path / "embedding.onnx")]) == 2
    assert "--support" in capsys.readouterr().err
    assert torch.is_grad_enabled()


def test_int8_answers_nearly_as_float_does_from_a_third_of_the_bytes(tmp_path: Path) -> None:
    classifier = untrained("search_space.widths=[64]", "search_space.norms=[bn]", "batch_norm=running")
    classifier.fit(pictures(8), ["b", "a", "d", "c"] * 2)
    full = write(classifier, tmp_path / "float.onnx", ONNX)
    images = Int8(None, classifier.pixels(pictures(40)), max_loss=1.0)
    write(classifier, tmp_path / "int8.onnx", ONNX, int8=images)
    int8 = exact_session(tmp_path / "int8.onnx")
    pixels = classifier.pixels(pictures(20))
    right = full(pixels)[1]
    error = np.square(int8.run(None, {"pixels": pixels.numpy()})[1] - right).mean() / np.square(right).mean()
    assert 1e-7 < error < 1e-2
    assert (tmp_path / "int8.onnx").stat().st_size < 0.4 * (tmp_path / "float.onnx").stat().st_size


def test_an_operation_without_a_form_in_int8_is_refused(tmp_path: Path) -> None:
    classifier = untrained("search_space.widths=[64]", "search_space.norms=[gn]", number=3)
    classifier.fit(pictures(4), ["a", "b", "c", "d"])
    with pytest.raises(ConfigError, match="search_space=conv_mcu"):
        write(classifier, tmp_path / "x.onnx", ONNX, int8=Int8(None, classifier.pixels(pictures(4)), 1.0))
    assert not list(tmp_path.iterdir())


def exported(run: Path, folder: Path, *options: str) -> int:
    return main(["export", str(run), "--format", "onnx-int8", "--output", str(folder / "it.onnx"), *options])


def test_int8_is_checked_on_meta_test_tasks(
    running: Path,
    maml: Path,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The embedding network of all tasks has one file; networks that adapt have one for each task."""
    assert exported(running, tmp_path) == 0
    assert "outputs in float, before it is quantized, differ from torch's" in caplog.text
    found = re.search(
        r"float ([\d.]+) .*int8 ([\d.]+) .*difference ([-+][\d.]+) ± [\d.]+ points \((\d+) ", caplog.text
    )
    assert found is not None
    full, int8, difference, tasks = map(float, found.groups())
    assert tasks == 8
    assert int8 - full == pytest.approx(difference, abs=0.11)
    capsys.readouterr()
    assert main(["evaluate", str(running), "--json"]) == 0
    assert full == pytest.approx(100 * json.loads(capsys.readouterr().out)["accuracy"], abs=0.06)
    (tmp_path / "it.onnx").unlink()
    examples = ("--support", str(support(root, tmp_path)))
    assert exported(maml, tmp_path, *examples, "budget.test_tasks=2", "--max-loss=100") == 0
    assert "(2 meta-test tasks, 3-way 2-shot)" in caplog.text


def test_a_limit_without_int8_is_refused(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(running), "--max-loss", "3"]) == 2
    assert "--max-loss: onnx loses nothing; use it with --format onnx-int8" in capsys.readouterr().err


def test_int8_that_loses_too_much_is_not_written(
    running: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Accuracies, "loss", 3.0)
    assert exported(running, tmp_path, "--max-loss=2.5", "budget.test_tasks=2") == 1
    assert re.search(
        r"loses 3.0 points, more than --max-loss=2.5.*signal-to-noise ratio: \w+ \(\d+ dB\)",
        capsys.readouterr().err,
    )
    assert not list(tmp_path.iterdir())


def test_int8_without_images_of_training(
    root: Path,
    running: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are calibrated on the examples, if there are any."""
    alone = tmp_path / "best.pt"
    alone.write_bytes((running / "best.pt").read_bytes())
    moved = root.rename(tmp_path / "moved")
    try:
        assert exported(alone, tmp_path) == 2
        assert str(root) in capsys.readouterr().err
        assert exported(alone, tmp_path, "--support", str(support(moved, tmp_path))) == 0
        assert "not checked on meta-test tasks" in caplog.text
    finally:
        moved.rename(root)
