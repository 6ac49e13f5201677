"""A hostile journal: what no run writes ends in a one-line error."""

from pathlib import Path
from typing import Any

import pytest

from nasmeta.reporting.read import load
from nasmeta.run import environment
from tests.hostile.makers import Canary, change_journal, copy_of, run


@pytest.mark.parametrize("event", ["asked", "finished"])
@pytest.mark.timeout(60)
def test_architectures_without_end(finished: Path, tmp_path: Path, canary: Canary, event: str) -> None:
    def change(record: dict[str, Any]) -> None:
        if record["event"] == event:
            record["arch"] = "fc16.relu.none_" * 300_000

    directory = change_journal(copy_of(finished, tmp_path / "run"), change)
    for command in ("report", "resume", "compare"):
        outcome = run(canary, directory, command, str(directory))
        assert outcome.code == 2 or command != "report"
        assert "journal.jsonl: line" in outcome.out + outcome.err


def test_a_setting_without_end_is_said_in_a_line(finished: Path, tmp_path: Path, canary: Canary) -> None:
    def change(record: dict[str, Any]) -> None:
        if "config" in record:
            record["config"]["evaluator"]["max_seconds"] = "y" * 4_000_000

    directory = change_journal(copy_of(finished, tmp_path / "run"), change)
    outcome = run(canary, directory, "resume", str(directory))
    assert outcome.code == 2
    assert "evaluator.max_seconds" in outcome.err
    assert len(outcome.err) < 10_000


def test_a_start_is_read_once_however_often_it_is_repeated(
    finished: Path, tmp_path: Path, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = copy_of(finished, tmp_path / "run")
    lines = (directory / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert b'"event":"started"' in lines[0]
    (directory / "journal.jsonl").write_bytes(b"".join([lines[0]] * 500 + lines))
    (directory / "summary.json").unlink()
    checked: list[Any] = []
    monkeypatch.setattr(load, "checked_config", lambda path, config: checked.append(config) or config)
    monkeypatch.setattr(environment, "changes", lambda before, now: checked.append(now) or {})
    assert "summary.json" in run(canary, directory, "report", str(directory)).err
    assert run(canary, directory, "resume", str(directory)).code == 0
    assert 0 < len(checked) < 20
