"""A search that ends with the reference trains it once, and says that it is the reference."""

import json
import signal
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.run.evaluators import Evaluators
from nasmeta.run.journal import read
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
    evaluate, phases = Evaluators.evaluate, []

    def counted(self: Evaluators, job: Job, *arguments: object) -> object:
        phases.append(job.phase)
        return evaluate(self, job, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Evaluators, "evaluate", counted)
    assert search(tmp_path / "run", *ONE) == 0
    assert phases == ["search", "reference"]


def test_summary_and_tables_say_that_it_is_the_reference(
    unbroken: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    summary = json.loads((unbroken / "summary.json").read_text())
    assert (summary["chosen"], summary["difference"]) == ("reference", None)
    assert summary["best"] == summary["reference"]
    assert [finalist["is_reference"] for finalist in summary["finalists"]] == [True]
    assert main(["resume", str(unbroken)]) == 0
    shown = capfd.readouterr().out
    assert "found nothing better than the reference" in shown
    assert "searched" not in shown
    assert main(["compare", str(unbroken), "--json"]) == 0
    row = json.loads(capfd.readouterr().out)
    assert (row["is_reference"], row["difference"]) == (True, None)
    assert main(["report", str(unbroken)]) == 0
    assert "searched - reference" not in (unbroken / "report.html").read_text()


def test_its_network_is_the_one_that_is_kept(unbroken: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(unbroken), "--json"]) == 0
    tested = json.loads(capfd.readouterr().out)["loss"]
    assert tested == json.loads((unbroken / "summary.json").read_text())["reference"]["test_loss"]


def test_validation_decides_between_it_and_the_candidates(tmp_path: Path) -> None:
    """Whichever wins: best.pt, the summary and the journal's finals agree."""
    directory = tmp_path / "run"
    assert search(directory, "budget.trials=4") == 0
    lines, _ = read(directory / "journal.jsonl")
    ends = [r for r in lines if r["event"] == "finished" and r["phase"] in ("final", "reference")]
    best = min(ends, key=lambda r: r["valid_loss"])
    summary = json.loads((directory / "summary.json").read_text())
    assert (summary["best"]["arch"], summary["best"]["valid_loss"]) == (best["arch"], best["valid_loss"])
    assert summary["chosen"] == ("reference" if best["phase"] == "reference" else "searched")
    assert len({r["arch"] for r in ends}) == len(ends) == 3


@pytest.mark.parametrize(
    "executor, kill_at",  # of 13 writes; by workers, those of the run itself alone are counted
    [*(("serial", number) for number in range(8, 14)), ("process", 8)],
)
def test_killed_and_resumed(unbroken: Path, tmp_path: Path, executor: str, kill_at: int) -> None:
    directory = tmp_path / "run"
    command = ["search", *TINY, *ONE, f"executor={executor}", f"hydra.run.dir={directory}"]
    assert spawn(command, kill_at) == -signal.SIGKILL
    assert spawn(["resume", str(directory)]) == 0
    expected, ended = outcome(unbroken), outcome(directory)
    assert ended == expected
