"""A resume under other settings says what changed: harmless changes pass, others need --force."""

import signal
from pathlib import Path
from typing import Any

import pytest

from nasmeta import environment, summary
from nasmeta.cli import main
from nasmeta.journal import read
from tests.cli.kills import spawn
from tests.cli.runs import TINY


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    assert spawn(["search", *TINY, f"hydra.run.dir={directory}"], 18) == -signal.SIGKILL
    return directory


def test_harmless_changes_are_named_and_pass(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = killed / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("save_seconds: 0", "save_seconds: 5"))
    assert main(["resume", str(killed), "progress=true"]) == 0
    assert "progress changed (False -> True)" in caplog.text
    assert "save_seconds changed (0.0 -> 5.0)" in caplog.text


@pytest.mark.parametrize("override", ["seed=3", "strategy=random"])
def test_harmful_changes_need_force(killed: Path, override: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = (killed / "journal.jsonl").read_bytes()
    assert main(["resume", str(killed), override]) == 2
    err = capfd.readouterr().err
    assert f"{killed}: since this run was last started, {override.split('=')[0]}" in err
    assert "--force" in err
    assert (killed / "journal.jsonl").read_bytes() == before, "a refused resume writes nothing"


def test_forced_changes_are_recorded(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["resume", str(killed), "budget.test_tasks=40", "--force"]) == 0
    assert "budget.test_tasks changed (20 -> 40)" in caplog.text
    records, _ = read(killed / "journal.jsonl")
    assert [r["config"]["budget"]["test_tasks"] for r in records if "config" in r] == [20, 40]


@pytest.mark.parametrize("name", ["nasmeta", "torch", "numpy"])
def test_other_versions_are_named(
    killed: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    others = {**summary.versions(), name: "0.0"}
    monkeypatch.setattr(environment, "versions", lambda: others)
    assert main(["resume", str(killed)]) == 2
    assert f"versions.{name} changed (" in capfd.readouterr().err
    assert main(["resume", str(killed), "--force"]) == 0


def test_another_device_is_named(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same: dict[str, Any] = {"config": {"seed": 0}, "versions": {}, "device": "cpu", "threads": 1}
    assert environment.changes(same, same) == {}
    assert environment.changes(same, {**same, "device": "cuda"}) == {"device": "cpu -> cuda"}


def test_a_run_that_recorded_nothing_is_not_held_to_it(killed: Path) -> None:
    """Runs of earlier versions."""
    from nasmeta.journal import Journal

    path = killed / "journal.jsonl"
    records, _ = read(path)
    path.unlink()
    with Journal(path) as journal:
        for record in records:
            kept = {k: v for k, v in record.items() if k not in ("v", "event", "config", "versions")}
            journal.append(record["event"], **kept)
    assert main(["resume", str(killed)]) == 0
