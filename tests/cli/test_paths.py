"""Paths on the command line: typed as they are, and the same wherever Hydra changes directory to."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from nasmeta.cli.arguments import parsed
from nasmeta.cli.main import main
from nasmeta.config.arguments_of_hydra import DIRECTORIES, PATHS, prepared
from nasmeta.config.overrides import composed
from nasmeta.config.schema import _schema, parse, resolve
from nasmeta.evaluators.tabular.open_table import located
from nasmeta.runtime.paths import absolute_folder
from tests.cli.runs import SHORT, jobs
from tests.test_config import OPTIONS, shipped

WORDS = """
    ~/pictures /bücher /写真 /a=b /a(b /a)b /a[b /a{b /a}b /a'b /a"b /a#b /a&b /a,b /a;b /a:b
    /50% 2024 [x] {a:b} true
"""
ODD = [*WORDS.split(), "choice(a)", "/a b", "/caf\udce9", "/a\\ 'b"]


def read_by_hydra(override: str) -> object:
    return OverridesParser.create().parse_overrides([override])[0].value()


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("key", ["dataset.root", "dataset.cache", "dataset.split_files", "evaluator.table"])
def test_a_path_is_taken_as_it_is_typed(key: str, path: str) -> None:
    (argument,) = prepared([f"{key}={path}"])
    assert read_by_hydra(argument) == path
    assert prepared([argument]) == [argument], "once is enough"


@given(
    st.text(st.characters(exclude_characters="\\$\n\r", exclude_categories=["Cc"]), min_size=1, max_size=12)
)
def test_any_path(path: str) -> None:
    path = f"/{path}"
    (argument,) = prepared([f"dataset.root={path}"])
    assert read_by_hydra(argument) == (path if argument.endswith('"') else path.rstrip(" \t"))


@pytest.mark.parametrize(
    "argument",
    [
        "dataset.root=null",
        "dataset.root=",
        "dataset.root=plain/path.d",
        'dataset.root="~/quoted"',
        "dataset.root='a=b'",
        r"dataset.root=a\=escaped",
        "dataset.root=${oc.env:HOME}/pictures",
        "seed=1",
        "task={way: 5}",
        "search_space.widths=[8,16]",
        "~dataset.root",
        "dataset=image_folder",
        "hydra.run.dir=outputs/${now:%H}",
        "--cfg",
    ],
)
def test_what_means_something_to_hydra_is_left_alone(argument: str) -> None:
    assert prepared([argument]) == [argument]


@pytest.mark.parametrize(
    "value, jobs",
    [
        ("a,b", ["a", "b"]),
        ("choice(a,b)", ["a", "b"]),
        ("~/a,/bücher,c", ["~/a", "/bücher", "c"]),
        ('"x,y",z', ["x,y", "z"]),
        ("glob(*)", None),
    ],
)
def test_in_a_sweep_a_comma_separates_values(value: str, jobs: list[str] | None) -> None:
    _, argument = prepared(["-m", f"dataset.root={value}"])
    (override,) = OverridesParser.create().parse_overrides([argument])
    if jobs is None:
        assert argument == f"dataset.root={value}"
        return
    swept = [read_by_hydra(f"k={text}") for text in override.sweep_string_iterator()]
    assert swept == jobs


def test_the_keys_of_paths_are_those_of_the_options() -> None:
    found = set()
    for group, option in OPTIONS:
        target = resolve(group, shipped(group, option)[group]["_target_"], trusted=True)
        for name, field in _schema(group, target).model_fields.items():
            if {absolute_folder, located} & {getattr(mark, "func", None) for mark in marks(field)}:
                found.add(f"{group}.{name}")
    assert found == set(PATHS) - set(DIRECTORIES)


def marks(field: Any) -> Iterator[Any]:
    """The marks of an annotation, and of the members of a union."""
    yield from field.metadata
    for member in get_args(field.annotation):
        yield from getattr(member, "__metadata__", ())


def test_elsewhere_a_value_that_hydra_cannot_read_is_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert prepared(["own.folder=~/a", "own.word=/a(b", "seed=1", "x=[1,2]"]) == [
        *('own.folder="~/a"', 'own.word="/a(b"', "seed=1", "x=[1,2]"),
    ]  # fmt: skip
    assert prepared(["-m", "own.folder=~/a,~/b"]) == ["-m", 'own.folder="~/a","~/b"']
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepared(["--config-dir=~/conf"]) == [f"--config-dir={tmp_path}/conf"]
    for command in (["search"], ["bench"]):
        assert main([*command, "task.way=~/x"]) == 2
        err = capfd.readouterr().err
        assert "task.way: got '~/x'" in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("named", [None, "", "relative/cache", "/absolute"])
def test_a_cache_folder_that_is_not_absolute_is_ignored(
    named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", "/home/someone")
    config = parse(composed(["dataset=omniglot"]), trusted=True)
    expected = "/absolute/nasmeta" if named == "/absolute" else "/home/someone/.cache/nasmeta"
    assert config.groups["dataset"]["cache"] == expected


def test_home_and_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A table beside the user, directories at home, and jobs that run in their own directories."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    chdir = [*SHORT, "hydra.job.chdir=true"]
    assert main(["search", *chdir, "hydra.run.dir=~/runs/ü=1"]) == 0
    assert (tmp_path / "home" / "runs" / "ü=1" / "summary.json").is_file()
    assert main(["search", *chdir, "-m", "seed=0", "hydra.sweep.dir=sweep"]) == 0
    assert [job["status"] for job in jobs(tmp_path / "here" / "sweep")] == ["done"]
    assert sorted(os.listdir(tmp_path / "here")) == ["sweep"]


def test_a_relative_folder_is_relative_to_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ["dataset=omniglot", "dataset.root=ömni", "dataset.download=false"]
    assert main(["search", *data, "hydra.job.chdir=true", "hydra.run.dir=run"]) == 2
    assert f"not found in {tmp_path}/ömni" in capfd.readouterr().err


def test_the_home_folder_in_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    options = parsed(["report", "~/run", "--output=~/page.html"])
    assert (options.directory, options.output) == (Path("/home/someone/run"), Path("/home/someone/page.html"))


def test_names_that_are_not_utf8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The bytes of a file's name may be anything; TensorBoard alone cannot write to such a folder."""
    directory = tmp_path / "caf\udce9"
    assert main(["search", *SHORT, "logger=tensorboard", f"hydra.run.dir={directory}"]) == 0
    assert (directory / "summary.json").is_file()
    assert "TensorBoard: ValueError: it cannot write" in capfd.readouterr().err
    assert main(["report", str(directory)]) == 0
    assert main(["resume", str(directory)]) == 0
