"""A search that ends with the reference trains it in full once: its result counts in both roles."""

import json
import signal
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.run.journal import read
from nasmeta.run.judges import Judges
from nasmeta.trial import Job
from tests.cli.kills import outcome, spawn
from tests.cli.runs import TINY, search

ONE = ["budget.trials=1", "budget.final_candidates=1"]  # the reference is where every search starts


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "run"
    assert spawn(["search", *TINY, *ONE, f"hydra.run.dir={directory}"]) == 0
    return directory


def test_it_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, phases = Judges.evaluate, []

    def counted(self: Judges, job: Job, *arguments: object) -> object:
        phases.append(job.phase)
        return evaluate(self, job, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Judges, "evaluate", counted)
    assert search(tmp_path / "run", *ONE) == 0
    assert phases == ["search", "reference"]


def test_journal_and_summary_say_that_it_is_the_reference(unbroken: Path) -> None:
    lines, _ = read(unbroken / "journal.jsonl")
    ends = {r["phase"]: r for r in lines if r["event"] == "finished"}
    assert ends["final"]["trained_as"] == "reference"
    timing = {"phase", "elapsed", "trained_as"}
    assert {k: v for k, v in ends["final"].items() if k not in timing} == {
        k: v for k, v in ends["reference"].items() if k not in timing
    }
    summary = json.loads((unbroken / "summary.json").read_text())
    assert summary["best"] == summary["reference"]
    assert summary["difference"] == {"mean": 0.0, "ci95": 0.0}


def test_its_network_is_the_one_that_is_kept(unbroken: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(unbroken), "--json"]) == 0
    tested = json.loads(capfd.readouterr().out)["loss"]
    assert tested == json.loads((unbroken / "summary.json").read_text())["reference"]["test_loss"]


def test_another_candidate_is_trained_beside_it(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert search(directory, "budget.trials=2") == 0
    lines, _ = read(directory / "journal.jsonl")
    ends = [(r["phase"], r["arch"], r.get("trained_as")) for r in lines if r["event"] == "finished"]
    reference = next(arch for phase, arch, _ in ends if phase == "reference")
    finals = {arch: trained_as for phase, arch, trained_as in ends if phase == "final"}
    assert finals.pop(reference) == "reference"
    assert list(finals.values()) == [None]


@pytest.mark.parametrize(
    "executor, kill_at",  # of 20 writes; by workers, those of the run itself alone are counted
    [*(("serial", number) for number in range(14, 21)), ("process", 8)],
)
def test_killed_and_resumed(unbroken: Path, tmp_path: Path, executor: str, kill_at: int) -> None:
    directory = tmp_path / "run"
    command = ["search", *TINY, *ONE, f"executor={executor}", f"hydra.run.dir={directory}"]
    assert spawn(command, kill_at) == -signal.SIGKILL
    assert spawn(["resume", str(directory)]) == 0
    expected, ended = outcome(unbroken), outcome(directory)
    assert ended == expected
