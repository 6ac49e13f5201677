"""TFLite files say what the networks say, in float32 and in int8, as phones and boards run them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasmeta.errors import ConfigError
from nasmeta.trained.export.export import FORMATS, Int8, write
from tests.classifier.test_export import pictures, untrained

pytestmark = pytest.mark.extra("tflite")

TFLITE = FORMATS["tflite"]
NETWORK = ["search_space.norms=[bn]", "search_space.activations=[relu]", "batch_norm=running"]


def interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    loaded = Interpreter(str(path))
    loaded.allocate_tensors()
    return loaded


def test_a_float_and_an_int8_file_of_one_network(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The int8 file is also run as firmware would run it: what it takes is a pixel minus 128."""
    classifier = untrained(*NETWORK, "search_space.widths=[16]", "meta_learner.distance=cosine")
    classifier.fit(pictures(8), ["b", "a", "d", "c"] * 2)
    pixels = classifier.pixels(pictures(12))
    write(classifier, tmp_path / "float.tflite", TFLITE)
    caplog.set_level("INFO")
    session = write(classifier, tmp_path / "int8.tflite", TFLITE, int8=Int8(None, pixels, 1.0))
    right = classifier.network.body(classifier.preprocessing.normalize(pixels)).numpy()
    error = np.square(session(pixels)[1] - right).mean() / np.square(right).mean()
    assert 1e-7 < error < 1e-2

    loaded = interpreter(tmp_path / "int8.tflite")
    source = loaded.get_input_details()[0]
    assert (source["dtype"], source["quantization"]) == (np.int8, (1.0, -128))
    image = pixels[:1].permute(0, 2, 3, 1).numpy().astype(int) - 128
    loaded.set_tensor(source["index"], image.astype(np.int8))
    loaded.invoke()
    probabilities = loaded.get_tensor(loaded.get_output_details()[0]["index"])
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities, session(pixels[:1])[0])
    kept = (tmp_path / "int8.tflite").read_bytes()
    assert json.dumps(json.dumps(["a", "b", "c", "d"])).encode() in kept
    assert len(kept) < 0.65 * (tmp_path / "float.tflite").stat().st_size
    try:
        import tflite_micro  # noqa: F401
    except ImportError:
        return
    assert "KiB (tflite-micro)" in caplog.text


def test_an_operation_without_a_form_in_int8_is_named(tmp_path: Path) -> None:
    classifier = untrained("search_space.norms=[gn]", "search_space.widths=[16]")
    classifier.fit(pictures(4), ["a", "b", "c", "d"])
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"tflite-int8: .* has no form in int8"):
        write(classifier, tmp_path / "x.tflite", TFLITE, int8=Int8(None, images, 1.0))
    assert not list(tmp_path.iterdir())
