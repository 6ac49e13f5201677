"""The script of the few-shot table: its rows, its order, and going on after a kill."""

import csv
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.kills import FORK
from tests.conftest import ROOT
from tests.scripts import load

SCRIPT = ROOT / "scripts" / "fewshot_table.py"
TINY = [
    "dataset.train_classes=20",
    "dataset.valid_classes=8",
    "dataset.test_classes=8",
    "dataset.examples=8",
    "dataset.size=16",
    "task.meta_batch=1",
    "budget.valid_tasks=4",
    "budget.final_tasks=4",
    "budget.test_tasks=4",
]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load("fewshot_table.py")


def unit(script: ModuleType, learner: str, budgets: tuple[int, ...]):
    settings = (*script.SETTINGS, *script.LEARNERS[learner], *script.DATASETS["strokes"], *TINY)
    arch = "conv3-8.bn.relu.max_conv3-8.bn.relu.max_gap"
    return script.Unit(arch, learner, "strokes", budgets, settings)


def without_seconds(text: str) -> list[dict[str, str]]:
    rows = list(csv.DictReader(text.splitlines()))
    for row in rows:
        assert float(row.pop("seconds")) > 0
    return rows


@pytest.mark.parametrize("learner", ["protonet", "fomaml"])
def test_a_longer_training_continues_a_shorter_one(script: ModuleType, learner: str) -> None:
    """The row at two meta-iterations is the same whether or not there was a stop at one on the way."""
    one, two = script.meta_train(unit(script, learner, (1, 2)))
    (alone,) = script.meta_train(unit(script, learner, (2,)))
    (first,) = script.meta_train(unit(script, learner, (1,)))
    assert without_seconds(table(script, two)) == without_seconds(table(script, alone))
    assert without_seconds(table(script, one)) == without_seconds(table(script, first))
    assert two.seconds > one.seconds
    assert 0.0 <= two.valid_accuracy <= 1.0


def table(script: ModuleType, *rows) -> str:
    return ",".join(script.COLUMNS) + "\n" + "".join(row.line() for row in rows)


def test_every_architecture_once_in_a_fixed_order(script: ModuleType) -> None:
    space = script.composition(script.SETTINGS).space
    order = list(script.architectures(space))
    assert order[0] == str(space.initial())
    assert order[1] == str(space.reference())
    assert len(order) == len(set(order)) == space.size == 544
    assert all(str(space.parse(arch)) == arch for arch in order[::20])
    assert order == list(script.architectures(space))


HEADER = (
    "arch,learner,dataset,iterations,valid_accuracy,valid_ci95,test_accuracy,test_ci95,params,flops,seconds\n"
)
ROW = "a,protonet,strokes,100,0.5,0.1,0.4,0.1,10,20,1.5\n"


def test_a_new_file_gets_its_header(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.csv"
    assert script.prepare(path) == set()
    assert path.read_text() == HEADER
    path.write_text(HEADER[:20])  # killed while it was written
    assert script.prepare(path) == set()
    assert path.read_text() == HEADER


@pytest.mark.parametrize("torn", ["", "b,protonet,str", ROW.strip()])
def test_a_torn_last_line_is_dropped(script: ModuleType, tmp_path: Path, torn: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(HEADER + ROW + torn)
    assert script.prepare(path) == {("a", "protonet", "strokes", "100")}
    assert path.read_text() == HEADER + ROW


def test_another_table_is_left_alone(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("arch,valid_acc_12\nx,1\n")
    with pytest.raises(SystemExit, match="'arch,valid_acc_12'"):
        script.prepare(path)
    assert path.read_text() == "arch,valid_acc_12\nx,1\n"


def arguments(path: Path, *options: str) -> list[str]:
    budgets = ["--budgets", "1", "2", "--", *TINY]
    return [str(SCRIPT), "--table", str(path), "--datasets", "strokes", *options, *budgets]


@pytest.mark.slow
def test_interrupted_and_continued_it_says_the_same(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut within a row of the second unit, and continued by processes of its own."""
    monkeypatch.setattr(script, "get_context", lambda _: FORK)  # it has torch loaded
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    monkeypatch.syspath_prepend(str(SCRIPT.parent))  # for its workers

    def run(path: Path, *options: str) -> None:
        monkeypatch.setattr(sys, "argv", arguments(path, *options))
        script.main()

    with monkeypatch.context() as patch:
        patch.setattr(script, "in_order", lambda work, units, jobs, stop: map(work, units))
        run(whole, "--architectures", "2")
    text = whole.read_text()
    rows = without_seconds(text)
    assert len(rows) == 2 * 2 * 2
    assert {row["learner"] for row in rows} == {"protonet", "fomaml"}
    lines = text.splitlines(keepends=True)
    cut.write_text("".join(lines[:4]) + lines[4][:30])
    run(cut, "--architectures", "2", "--jobs", "2")
    assert without_seconds(cut.read_text()) == rows
    before = whole.read_text()
    run(whole, "--architectures", "2")
    assert whole.read_text() == before, "nothing is left to do"
