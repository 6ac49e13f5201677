"""The C header learns and classifies as Python does, from float and int8 embeddings."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nasmeta import seeding
from nasmeta.cli.main import main
from nasmeta.errors import ConfigError
from nasmeta.trained.classifier import FewShotClassifier
from nasmeta.trained.export.onnx import Onnx
from nasmeta.trained.export.parts import FEW_SHOT, Prototypes, check_parts, write_parts
from nasmeta.trained.meta_test import MetaTest
from nasmeta.training import unknown as unknowns
from nasmeta.training.calibration import Calibration
from tests.classifier.pictures import files
from tests.classifier.test_export import onnx_session, support, untrained

FEATURES, SCALE, ZERO, SHARPNESS = 12, 0.02, -5, 1.7

PROGRAM = """
#include <stdio.h>
#include "classes.h"
int main(void)
{{
    const float added[3][{features}] = {added};
    const int8_t added8[3][{features}] = {added8};
    const float query[{features}] = {query};
    const int8_t query8[{features}] = {query8};
    float probabilities[16];
    int known = few_shot_add{suffix}(&classes, &{examples}[0][0], 3);
    int best = few_shot_classify{suffix}(&classes, {asked}, probabilities);
    printf("%d %d %s", known, best, class_names[0]);
    printf(" %d", few_shot_unknown{suffix}(&classes, {asked}));
    for (int c = 0; c < classes.classes; c++) printf(" %.9g", probabilities[c]);
    classes.threshold = 0;
    return few_shot_unknown{suffix}(&classes, {asked}) ||
           few_shot_add(&(few_shot){{1, 0, 0, NULL, NULL, 1, 0, 1, 0, 0, 0}}, query, 1) != -1;
}}
"""


def c_array(values: np.ndarray) -> str:
    return str(values.tolist()).replace("[", "{").replace("]", "}")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
@pytest.mark.parametrize("cosine", [False, True], ids=["euclidean", "cosine"])
@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("unknown", [False, True], ids=["known", "unknown"])
def test_c_answers_as_python_does(unknown: bool, int8: bool, cosine: bool, tmp_path: Path) -> None:
    rng = seeding.stream(0, "few_shot.h")
    known8, added8 = (rng.integers(-128, 128, (n, FEATURES), dtype=np.int8) for n in (2, 3))
    query8 = np.clip(added8.mean(0) + rng.normal(0, 30, FEATURES), -128, 127).astype(np.int8)
    known, added, query = ((x.astype(np.float32) - ZERO) * SCALE for x in (known8, added8, query8))
    centres = torch.from_numpy(np.concatenate([known, added.mean(0, keepdims=True)]))
    q = torch.from_numpy(query)
    distances = unknowns.Prototypes(centres, 1 + 1 / torch.tensor([1, 4, 3])).distances(q[None])
    threshold = float(distances.min()) * (0.99 if unknown else 1.01)
    prototypes = Prototypes(
        ('na"ïve?', "b"),
        known,
        (1, 4),
        SCALE,
        ZERO,
        SHARPNESS,
        scatter=None if cosine else 1.5,
        cosine=cosine,
        threshold=threshold,
    )
    (tmp_path / "classes.h").write_text(prototypes.header())
    text = PROGRAM.format(
        features=FEATURES,
        added=c_array(added),
        added8=c_array(added8),
        query=c_array(query),
        query8=c_array(query8),
        suffix="_int8" if int8 else "",
        examples="added8" if int8 else "added",
        asked="query8" if int8 else "query",
    )
    (tmp_path / "main.c").write_text(text)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", f"-I{FEW_SHOT.parent}"]
    subprocess.run(["gcc", *flags, "main.c", "-o", "main", "-lm"], cwd=tmp_path, check=True)
    place, best, name, outside, *probabilities = subprocess.check_output([tmp_path / "main"]).decode().split()

    closeness = torch.cosine_similarity(q[None], centres) if cosine else -(q - centres).square().sum(1)
    scatter = sum(1 + 1 / n for n in (1, 4, 3)) / 3
    sharpness = SHARPNESS if cosine else SHARPNESS / Calibration(1.0, scatter=1.5).temperature_at(scatter)
    expected = (sharpness * closeness).softmax(0).numpy()
    assert (int(place), int(best), name, bool(int(outside))) == (2, expected.argmax(), 'na"ïve?', unknown)
    assert np.allclose([float(p) for p in probabilities], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "overrides, match", [(["meta_learner=ridge"], "--parts: ridge"), ([], "batch_norm: support")], ids=str
)
def test_a_learner_without_prototypes_is_refused(overrides: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        check_parts(untrained("search_space=conv_small", *overrides))


def test_another_policy_is_not_calibrated(running: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = MetaTest.of(running, [], trusted=False)
    assert own.calibrated_network().calibration is not None
    assert not caplog.text
    other = MetaTest.of(running, ["batch_norm=support"], trusted=False)
    assert other.calibrated_network().calibration is None
    assert "not calibrated" in caplog.text
    classifier = FewShotClassifier.of(other.calibrated_network(), other.learner, other.state)
    assert (classifier.threshold, classifier.temperature) == (None, 1.0)


@pytest.mark.extra("onnx")
@pytest.mark.parametrize("distance, threshold", [("cosine", 0), ("euclidean", 5)])
def test_cosines_tell_no_unknown_class(
    distance: str, threshold: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their threshold is of embeddings of length one, and the means are of raw embeddings."""
    overrides = ["search_space=conv_small", "batch_norm=running", f"meta_learner.distance={distance}"]
    classifier = untrained(*overrides)
    calibrated = replace(classifier._meta_learned, calibration=Calibration(1.0, threshold=5.0))
    classifier._meta_learned = calibrated
    check_parts(classifier)
    assert ("no unknown classes" in caplog.text) == (distance == "cosine")
    write_parts(classifier, tmp_path / "parts", Onnx(), {}, None)
    written = (tmp_path / "parts" / "classes.h").read_text().rstrip().rpartition(", ")[2]
    assert float(written.removesuffix("f};")) == threshold


@pytest.mark.extra("onnx")
def test_the_command(running: Path, root: Path, tmp_path: Path) -> None:
    """The prototypes are the means of the embeddings that the exported network gives."""
    command = ["export", str(running), "--parts", "--support", str(support(root, tmp_path))]
    assert main([*command, "--output", str(tmp_path / "parts")]) == 0
    made = tmp_path / "parts"
    assert sorted(file.name for file in made.iterdir()) == ["classes.h", "embedding.onnx", "few_shot.h"]
    classifier = FewShotClassifier.load(running, device="cpu")
    images = files(root, [2], range(2))[0]
    mean = onnx_session(made / "embedding.onnx").run(None, {"pixels": classifier.pixels(images).numpy()})[0]
    row = (made / "classes.h").read_text().split("{\n    {")[1].split("}")[0]
    assert np.allclose([float(x.strip(" f")) for x in row.split(",")], mean.mean(0), rtol=1e-6)
    assert main([*command, "--output", str(made)]) == 2
