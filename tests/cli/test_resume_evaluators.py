"""Runs whose trials train nothing, killed and resumed: as exact as any."""

import signal
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.search_spaces.nasbench201 import Nasbench201Space
from tests.cli.kills import outcome, spawn
from tests.cli.runs import SAVED
from tests.evaluators.tables import write_few_shot


@pytest.fixture(scope="module", params=["tabular", "zero_cost"])
def arguments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if request.param == "zero_cost":
        return [
            "search",
            *SAVED,
            "evaluator=zero_cost",
            "evaluator.proxy=vote",
            "evaluator.voters=[snip,naswot]",
        ]
    space = Nasbench201Space(width=4, stages=1, repeats=1)
    start = space.initial()
    table = tmp_path_factory.mktemp("table") / "table.csv"
    write_few_shot(table, map(str, [start, *space.neighbors(start)]), iterations=(3, 4))
    kept = [o for o in SAVED if not o.startswith(("dataset", "search_space", "meta_learner"))]
    return ["search", *kept, "search_space=nasbench201", "evaluator=tabular", f"evaluator.table={table}",
            "strategy.start=initial", "budget.trials=12", "budget.max_seconds=25"]  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "run"
    assert spawn([*arguments, f"hydra.run.dir={directory}"]) == 0
    return directory


@pytest.mark.parametrize("kill_at,torn", [(2, True), (7, False), (12, True)])
def test_killed_once(arguments: list[str], unbroken: Path, tmp_path: Path, kill_at: int, torn: bool) -> None:
    directory = tmp_path / "run"
    assert spawn([*arguments, f"hydra.run.dir={directory}"], kill_at, torn) == -signal.SIGKILL
    assert spawn(["resume", str(directory)]) == 0
    assert outcome(directory) == outcome(unbroken)


def test_what_was_compared_is_not_empty(arguments: list[str], unbroken: Path) -> None:
    result = outcome(unbroken)
    finished = [r for r in result["journal"] if r["event"] == "finished" and r["phase"] == "search"]
    assert any(r["status"] == "ok" for r in finished)
    assert ("tensors" in result) == ("evaluator=zero_cost" in arguments)
    if "evaluator=tabular" in arguments:
        assert 2 < len(finished) < 12 or result["summary"]["simulated_seconds"] < 25


def test_another_table_is_refused_on_resume(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "evaluator=tabular" not in arguments:
        pytest.skip("it reads no table")
    directory, table = tmp_path / "run", tmp_path / "table.csv"
    original = Path(next(o.partition("=")[2] for o in arguments if o.startswith("evaluator.table=")))
    table.write_text(original.read_text())
    assert spawn([*arguments, f"evaluator.table={table}", f"hydra.run.dir={directory}"], 7) == -signal.SIGKILL
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]))
    assert main(["resume", str(directory)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "since this run was last started, table changed" in err
    table.write_text(original.read_text())
    assert main(["resume", str(directory)]) == 0
