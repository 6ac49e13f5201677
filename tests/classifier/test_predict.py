"""`nasmeta predict`: labels for the images in folders."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from nasmeta.cli.main import main
from nasmeta.trained import classifier as classifier_module
from nasmeta.trained.classifier import FewShotClassifier


@pytest.fixture
def folders(root: Path, tmp_path: Path) -> list[str]:
    """--support of two classes with two images each, --query of the same classes' four others, nested."""
    for label in ("c02", "c07"):
        for number in range(6):
            place = tmp_path / ("support" if number < 2 else "queries/deep") / label
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / label / f"{number}.png", place)
    return ["--support", str(tmp_path / "support"), "--query", str(tmp_path / "queries")]


def test_csv_says_what_the_class_does(
    folders: list[str], protonet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(protonet), *folders, "--device", "cpu"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    queries = sorted((tmp_path / "queries").rglob("*.png"))
    support = sorted((tmp_path / "support").rglob("*.png"))
    classifier = FewShotClassifier.load(protonet, device="cpu")
    classifier.fit(support, [file.parent.name for file in support])
    expected = classifier.predict_proba(queries)
    assert [row["file"] for row in rows] == [str(file) for file in queries]
    assert [row["label"] for row in rows] == classifier.predict(queries).tolist()
    assert [row["probability"] for row in rows] == [f"{p:.4f}" for p in expected.max(1)]


def test_json_has_all_probabilities(
    folders: list[str], protonet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(tmp_path / "queries" / "deep" / "c07" / "3.png")
    assert main(["predict", str(protonet), *folders[:3], one, "--json", "--device", "cpu"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == one
    assert set(answer["probabilities"]) == {"c02", "c07"}
    assert max(answer["probabilities"], key=answer["probabilities"].get) == answer["label"]


def test_where_folders_name_the_classes_it_says_how_many_are_right(
    folders: list[str],
    protonet: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        assert main(["predict", str(protonet), *folders]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    right = np.mean([row["label"] in row["file"] for row in rows])
    assert f"{100 * right:.1f} % of 8" in caplog.text
    assert "examples" not in caplog.text
    with caplog.at_level("INFO"):
        assert main(["predict", str(protonet), *folders, str(tmp_path / "support")]) == 0
    assert "of 12; 4 of them were among its examples" in caplog.text


def test_no_file_is_overwritten(folders: list[str], protonet: Path, tmp_path: Path) -> None:
    output = tmp_path / "labels.csv"
    command = ["predict", str(protonet), *folders, "--output", str(output)]
    assert main(command) == 0
    before = output.read_text()
    assert before.startswith("file,label,probability\n")
    assert main(command) == 2
    assert output.read_text() == before


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"--support": "none"}, "none: no such folder; expected SUPPORT/CLASS/IMAGE"),
        ({"--support": "queries"}, "queries: no class with images"),
        ({"--support": "support/c02"}, "c02: no class with images"),
        ({"--query": "none"}, "none: no such file or folder (--query)"),
        ({"--query": "empty"}, "empty: no images (--query)"),
        ({"--output": "none/labels.csv"}, "none: no such folder (--output)"),
        ({"--device": "gpu"}, "device: 'gpu' is not a device"),
    ],
)
def test_wrong_input_is_one_line(
    changes: dict[str, str],
    message: str,
    folders: list[str],
    protonet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    options = {"--support": "support", "--query": "queries"} | changes
    command = ["predict", str(protonet), *(word for option in options.items() for word in option)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["protonet", "transductive"])
def test_an_unreadable_query_costs_no_other_its_label(
    name: str,
    folders: list[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifier_module, "AT_ONCE", 3)
    command = ["predict", str(request.getfixturevalue(name)), *folders, "--device", "cpu"]
    capsys.readouterr()  # what the training has printed
    queries = sorted((tmp_path / "queries").rglob("*.png"))
    damaged = [queries[1], queries[5]]
    good = [str(query) for query in queries if query not in damaged]
    for query in damaged:
        query.rename(query.with_suffix(".kept"))
    assert main(command) == 0
    expected = capsys.readouterr().out
    for query in damaged:
        query.touch()
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out == expected
    assert [row["file"] for row in csv.DictReader(io.StringIO(out))] == good
    assert "2 of 8 images have no label" in err
    assert all(f"{query}: cannot be read" in err for query in damaged)


def test_where_no_query_can_be_read_nothing_is_written(
    folders: list[str], protonet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").touch()
    output = tmp_path / "labels.csv"
    shown = [*folders[:3], str(tmp_path / "bad.png"), "--output", str(output)]
    assert main(["predict", str(protonet), *shown]) == 2
    assert "bad.png: cannot be read" in capsys.readouterr().err
    assert not output.exists()


def test_a_dash_is_stdout(
    folders: list[str],
    protonet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(protonet), *folders, "--output", "-"]) == 0
    assert capsys.readouterr().out.startswith("file,label,probability\n")
    assert not (tmp_path / "-").exists()
    assert main(["predict", str(protonet), *folders, "--output", "./-"]) == 0
    assert (tmp_path / "-").read_text().startswith("file,label,probability\n")
    for command in ("report", "export"):
        with pytest.raises(SystemExit) as exited:
            main([command, str(protonet), "--output", "-"])
        assert exited.value.code == 2
        assert "type ./-" in capsys.readouterr().err


def test_no_name_is_a_formula_or_steers_the_terminal(
    folders: list[str],
    protonet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for old, new in (("c02", "=1+1"), ("c07", " @\x1b[2J")):
        (tmp_path / "support" / old).rename(tmp_path / "support" / new)
    query = tmp_path / "-1\x1b]0;x\x07\n.png"
    shutil.copy(tmp_path / "queries" / "deep" / "c02" / "3.png", query)
    command = ["predict", str(protonet), *folders[:2], f"--query={query.name}"]
    assert main(command) == 0
    out = capsys.readouterr().out
    (row,) = csv.DictReader(io.StringIO(out))
    assert out.replace("\n", "").isprintable()
    assert row["file"] == r"'-1\x1b]0;x\x07\n.png"
    assert row["label"] in ("'=1+1", r"' @\x1b[2J")
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == query.name
    assert set(answer["probabilities"]) == {"=1+1", " @\x1b[2J"}


def test_what_an_archive_of_a_mac_brings_along_is_no_class(
    folders: list[str], protonet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    support = tmp_path / "support"
    (support / "__MACOSX" / "c02").mkdir(parents=True)
    (support / "__MACOSX" / "c02" / "._0.png").touch()
    (support / "c02" / "._0.png").touch()
    (support / "c02" / ".DS_Store").touch()
    (tmp_path / "Thumbs.db").touch()
    one = str(tmp_path / "queries" / "deep" / "c02" / "3.png")
    shown = [*folders[:3], one, str(support / "__MACOSX"), str(tmp_path / "Thumbs.db"), "--json"]
    assert main(["predict", str(protonet), *shown]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == one
    assert set(answer["probabilities"]) == {"c02", "c07"}


def test_any_terminal_will_do(
    folders: list[str], protonet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that knows only ASCII, and a file whose name is no text at all."""
    query = tmp_path / "queries" / "deep" / "c07" / "3.png"
    for name, shown in (("3é.png", "3?.png"), ("3\udcff.png", "3\\udcff.png")):
        query = query.rename(query.with_name(name))
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
        assert main(["predict", str(protonet), *folders[:3], str(query), "--device", "cpu"]) == 0
        sys.stdout.flush()
        assert written.getvalue().splitlines()[1].startswith(f"{query.parent}/{shown},".encode())
