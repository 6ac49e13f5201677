"""A stranger's summary.json, whose checksum is in the journal: it is made again, or a line."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.makers import Canary, change_journal, copy_of, run


def without(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda summary: json.dumps({name: value for name, value in summary.items() if name != key})


SPOILT: dict[str, Callable[[dict[str, Any]], str]] = {
    "empty": lambda summary: "{}",
    "a list": lambda summary: "[]",
    "deep": lambda summary: "[" * 100_000 + "]" * 100_000,
    "no best": without("best"),
    "no task": without("trials"),
    "a text": lambda summary: json.dumps(summary | {"best": "x"}),
    "absurd": lambda summary: json.dumps(summary | {"wall_seconds": 1e308}),
    "digits": lambda summary: '{"format": ' + "9" * 5000 + "}",
    "bytes": lambda summary: "\ud800",
}


@pytest.mark.parametrize("name", SPOILT)
def test_it_is_made_again(
    finished: Path, tmp_path: Path, canary: Canary, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory = copy_of(finished, tmp_path / "run")
    file = directory / "summary.json"
    known = json.loads(file.read_text())
    file.write_bytes(SPOILT[name](known).encode("utf-8", "surrogatepass"))
    checksum = zlib.crc32(file.read_bytes())

    def change(record: dict[str, Any]) -> None:
        if record["event"] == "tested":
            record["checksum"] = checksum

    change_journal(directory, change)
    for command in ("report", "compare"):
        assert "summary.json: damaged: " in run(canary, directory, command, str(directory)).err
    assert run(canary, directory, "resume", str(directory)).code == 0
    assert "summary.json: " in caplog.text
    made = json.loads(file.read_text())
    assert {key: made[key]["test_loss"] for key in ("best", "reference")} == {
        key: known[key]["test_loss"] for key in ("best", "reference")
    }


def test_a_newer_one_is_left_alone(finished: Path, tmp_path: Path, canary: Canary) -> None:
    directory = copy_of(finished, tmp_path / "run")
    newer = json.dumps({"format": 99}).encode()
    (directory / "summary.json").write_bytes(newer)

    def change(record: dict[str, Any]) -> None:
        if record["event"] == "tested":
            record["checksum"] = zlib.crc32(newer)

    change_journal(directory, change)
    assert run(canary, directory, "resume", str(directory)).code == 2
    assert (directory / "summary.json").read_bytes() == newer
