"""A run of the format that was current on 2026-11-26 is read from now on: compare, report, summary and state.

`stored_run` has the configuration, the journal and the summary of this command:

    nasmeta search dataset=sinusoid search_space=mlp 'search_space.widths=[16,24]' \\
        search_space.max_layers=2 meta_learner=fomaml meta_learner.inner_lr=0.01 \\
        strategy=nsga2 strategy.population=3 budget.trials=6 \\
        budget.search_iterations=20 budget.final_iterations=40 budget.final_candidates=1 \\
        budget.valid_tasks=20 budget.test_tasks=20 device=cpu tensorboard=false progress=false \\
        hydra.run.dir=stored_run

If a format changes, add another such run; do not make this one again.
"""

import json
import shutil
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.reporting.read.load import load_run
from nasmeta.run import journal, records
from nasmeta.run.state import RunState
from nasmeta.run.summary import Summary

STORED = Path(__file__).with_name("stored_run")
CHOSEN = "fc24.relu.layer_fc24.tanh.none+skip"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED, tmp_path / "run"))


def test_its_journal_adds_up() -> None:
    path = STORED / "journal.jsonl"
    lines, size = journal.read(path)
    assert size == path.stat().st_size
    state = RunState.replay(records.parse(path, lines), ("params",))
    assert [result.trial for result in state.searched] == list(range(6))
    assert state.best is not None
    assert state.best.arch == CHOSEN
    assert state.front is not None
    pareto = json.loads((STORED / "summary.json").read_text())["pareto"]
    assert state.front.trials == {member["trial"] for member in pareto}
    assert state.has_searched
    assert state.tested is not None
    assert Summary.read(STORED / "summary.json", state.tested.checksum).best.arch == CHOSEN


def test_it_is_loaded_as_a_finished_run() -> None:
    run = load_run(STORED)
    assert run.status == "done"
    assert run.settings["budget.trials"] == 6
    assert run.command is not None
    assert "strategy=nsga2" in run.command.overrides


def test_it_is_compared(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(run), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["arch"], row["params"]) == (CHOSEN, 721)
    assert row["test_loss"] == pytest.approx(5.795137)


def test_it_is_reported(run: Path) -> None:
    assert main(["report", str(run)]) == 0
    assert CHOSEN in (run / "report.html").read_text()
