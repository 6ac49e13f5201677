"""Slips in a user's own YAML files: one line that names the file and the line, exit code 2."""

from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed

GLOBAL = b"# @package _global_\n"
SLIPS = {
    "tab": (GLOBAL + b"seed:\t3\n", ":2: ", "tab"),
    "indentation": (GLOBAL + b"task:\n  way: 5\n shot: 1\n", ":4: ", ""),
    "bracket": (GLOBAL + b"seed: [3\n", ":3: ", "']'"),
    "colon": (GLOBAL + b"seed: 3 4: 5\n", ":2: ", ""),
    "twice": (GLOBAL + b"seed: 3\nseed: 4\n", ":3: ", "seed"),
    "latin1": (GLOBAL + b"# caf\xe9\nseed: 3\n", ":2: ", "UTF-8"),
    "utf16": ("# @package _global_\nseed: 3\n".encode("utf-16"), ":1: ", "UTF-8"),
    "control": (GLOBAL + b"seed: 3 # \x00\n", ":2: ", "0x0"),
    "list": (GLOBAL + b"- seed: 3\n", ": ", "a list"),
    "word": (GLOBAL + b"seed\n", ": ", "key: value"),
    "object": (GLOBAL + b"seed: !!python/object/apply:os.getcwd []\n", ":2: ", "python/object"),
    "undefined": (GLOBAL + b"seed: *other\n", ":2: ", "other"),
    "deep": (GLOBAL + b"a: " + b"[" * 600 + b"]" * 600 + b"\n", ": ", "nested"),
}


def own(folder: Path, name: str, content: bytes, group: str = "experiment") -> Path:
    """Writes the option `name` of a group; returns its file."""
    file = folder / group / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def told(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command with wrong input leaves."""
    assert main([*arguments]) == 2
    out, err = capfd.readouterr()
    assert not out
    (line,) = err.splitlines()
    return line


@pytest.mark.parametrize("slip", SLIPS)
def test_search_and_list_name_file_and_line(
    slip: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content, line, word = SLIPS[slip]
    file = own(tmp_path / "conf", slip, content)
    before = sorted(tmp_path.rglob("*"))
    search = [f"experiment={slip}", f"hydra.run.dir={tmp_path / 'run'}"]
    for command in (["search", *search], ["search", "-m", *search], ["list"]):
        message = told(capfd, *command, "--config-dir", str(tmp_path / "conf"))
        assert message.startswith(f"nasmeta: {file}{line}"), message
        assert word in message
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("group", ["experiment", "debug"])
@pytest.mark.parametrize(
    "content",
    [b"seed: 5\n", b"", b"seed: 5\n# @package _global_\n", b"# mine\n# @package _global_\nseed: 5\n"],
)
def test_an_experiment_without_its_package_line_is_refused(
    group: str, content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = own(tmp_path, "mine", content, group)
    message = told(capfd, "search", "--config-dir", str(tmp_path), f"{group}=mine", "--cfg", "job")
    assert str(file) in message
    assert "`# @package _global_`" in message


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["unix", "windows"])
def test_an_experiment_counts(
    mark: bytes, end: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own(tmp_path, "mine", mark + GLOBAL + b"seed: 5" + end)
    assert main(["search", "--config-dir", str(tmp_path), "experiment=mine", "--cfg", "job"]) == 0
    assert "seed: 5" in capfd.readouterr().out


@pytest.mark.parametrize(
    "content, words",
    [
        (b"way: 5\n", ["strategy: has no _target_", "nasmeta list strategy"]),
        (b"", ["strategy: has no _target_"]),
        (b"defaults: evolution\n", ["defaults"]),
        (b"defaults:\n  - 3\n", ["defaults"]),
        (
            b"defaults:\n  - evolutoin\n",
            ["strategy=evolutoin", "/mine.yaml", "nasmeta list strategy"],
        ),
        (b"defaults:\n  - /datset: strokes\n", ["datset=strokes", "strategy/mine.yaml"]),
        (b"defaults:\n  - /dataset: strok\n", ["dataset=strok", "strategy/mine.yaml", "'strokes'"]),
        (b"defaults:\n  - override /datset: strokes\n", ["datset: ", "strategy/mine.yaml", "'dataset'"]),
    ],
)
def test_an_option_that_composes_nothing(
    content: bytes, words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own(tmp_path, "mine", content, "strategy")
    message = told(capfd, "search", "--config-dir", str(tmp_path), "strategy=mine", "hydra.run.dir=never")
    assert all(word in message for word in words), message


def test_shipped_files_are_read_as_hydra_reads_them() -> None:
    """The recipes keep their package lines."""
    assert composed(["experiment=quickstart"]).strategy.population_size == 6
