"""ONNX files say what the networks say: every space, learner and head; and `nasmeta export`."""

import json
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
from nasmeta.trained import export
from nasmeta.trained.classifier import FewShotClassifier, MetaLearned
from tests.classifier.pictures import files

pytestmark = pytest.mark.extra("onnx")

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


def untrained(*overrides: str, number: int = 0) -> FewShotClassifier:
    """The classifier of a random architecture, whose norms have seen a few images."""
    composition = Composition.of(parse(composed([*SMALL, *overrides]), trusted=False))
    learner = composition.learner
    arch = composition.space.sample(seeding.stream(number, "export test"))
    state = composition.problem().initial_state(arch)
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
    error = export.export_onnx(classifier, path, pictures(3))
    session = onnx_session(path)
    queries = pictures(5)
    (answers,) = session.run(["probabilities"], {"pixels": classifier.pixels(queries).numpy()})
    assert np.allclose(answers, classifier.predict_proba(queries), rtol=1e-3, atol=1e-3)
    assert error < 1e-3
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == ["a", "b", "c", "d"]
    assert Preprocessing(**json.loads(metadata["preprocessing"])).size == 28
    assert metadata["arch"] == classifier.arch


def test_the_embedding_network(tmp_path: Path) -> None:
    classifier = untrained("batch_norm=running", "search_space=conv_small")
    export.export_onnx(classifier, tmp_path / "embedding.onnx")
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
    converted = export._converted

    def wrong(module: export.OfPixels, *rest: Any) -> bytes:
        other = export.OfPixels(module.network, replace(module.preprocessing, std=(0.5,)), probabilities=True)
        return converted(other, *rest)

    monkeypatch.setattr(export, "_converted", wrong)
    with pytest.raises(RunFailed, match="the exported network differs"):
        export.export_onnx(classifier, tmp_path / "classifier.onnx")
    assert not list(tmp_path.iterdir())


def test_what_has_no_network_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_norm: support normalizes by the images of a task"):
        export.export_onnx(untrained("search_space=conv_small"), tmp_path / "x.onnx")
    alone = untrained("search_space=conv_small", "batch_norm=transductive", "search_space.norms=[bn]")
    alone.fit(pictures(4), ["a", "b", "c", "d"])
    with pytest.raises(ConfigError, match="batch_norm: transductive"):
        export.export_onnx(alone, tmp_path / "x.onnx")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'nasmeta\[onnx\]'"):
        export.check_installed()


def test_the_command(
    root: Path,
    maml: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in files(root, [2, 3], range(2))[0]:
        place = tmp_path / "support" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        (place / file.name).write_bytes(file.read_bytes())
    output = tmp_path / "two classes.onnx"
    command = ["export", str(maml), "--support", str(tmp_path / "support"), "--output", str(output)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{output}\n"
    session = onnx_session(output)
    queries, _ = files(root, [2, 3], range(2, 5))
    classifier = FewShotClassifier.load(maml, device="cpu").fit(*files(root, [2, 3], range(2)))
    (answers,) = session.run(None, {"pixels": classifier.pixels(queries).numpy()})
    assert np.allclose(answers, classifier.predict_proba(queries), rtol=1e-3, atol=1e-4)
    before = output.read_bytes()
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert output.read_bytes() == before
    assert main(["export", str(maml), "--output", str(tmp_path / "embedding.onnx")]) == 2
    assert "--support" in capsys.readouterr().err
    assert torch.is_grad_enabled()
