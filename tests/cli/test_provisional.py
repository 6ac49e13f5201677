"""A network of an unfinished search: every command that uses it says so, and so does what it writes."""

import json
import shlex
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from nasmeta.cli.main import main
from nasmeta.training import checkpoint
from tests.cli.kills import spawn
from tests.cli.test_commands import images


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of images that was killed with a best.pt of its search."""
    directory = tmp_path_factory.mktemp("interrupted") / "a run"
    assert spawn(images(directory, "batch_norm=running"), 12) == -signal.SIGKILL
    assert checkpoint.load(directory / "best.pt")["provisional"] is True
    return directory


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("support")
    for shade in (0, 200):
        (folder / str(shade)).mkdir()
        Image.new("L", (28, 28), shade).save(folder / str(shade) / "0.png")
    return folder


def test_predict_says_it(
    interrupted: Path, support: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    examples = ["--support", str(support), "--query", str(support)]
    assert main(["predict", str(interrupted), *examples, "--json"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["provisional"] for row in rows] == [True, True]
    assert f"{interrupted / 'best.pt'}: provisional: " in caplog.text


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs nasmeta[onnx]")
def test_export_puts_it_into_the_file(interrupted: Path, support: Path, tmp_path: Path) -> None:
    import onnx

    output = tmp_path / "classifier.onnx"
    assert main(["export", str(interrupted), "--support", str(support), "--output", str(output)]) == 0
    assert {p.key: p.value for p in onnx.load(output).metadata_props}["provisional"] == "true"


def test_evaluate_says_it_until_the_printed_command_has_run(
    interrupted: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The last of the module: it ends the run."""
    assert main(["evaluate", str(interrupted), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["provisional"] is True
    assert "after 2 meta-iterations" in caplog.text
    assert main(shlex.split(caplog.text.partition("resume with: ")[2].splitlines()[0])[1:]) == 0
    caplog.clear()
    capfd.readouterr()
    assert main(["evaluate", str(interrupted), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["provisional"] is False
    assert "provisional" not in caplog.text
