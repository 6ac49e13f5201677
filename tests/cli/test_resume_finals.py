"""Finals of several rounds and networks: killed in every round, and resumed as if it had never happened."""

import json
from pathlib import Path

import pytest
import torch

from nasmeta.run.journal import read
from tests.cli.kills import kill_again_and_again, outcome, spawn
from tests.cli.runs import SAVED

ROUNDS = [
    *("budget.trials=4", "budget.final_candidates=3", "budget.final_rounds=2", "budget.final_seeds=2"),
    *("budget.final_iterations=6", "budget.keep=best", "budget.judge_every=2"),
]


def arguments(directory: Path, *overrides: str) -> list[str]:
    return ["search", *SAVED, *ROUNDS, *overrides, f"hydra.run.dir={directory}"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "run"
    assert spawn(arguments(directory)) == 0
    return directory


def test_the_journal_has_every_round(unbroken: Path) -> None:
    lines, _ = read(unbroken / "journal.jsonl")
    finals = [r for r in lines if r["event"] == "finished" and r["phase"] in ("final", "reference")]
    first, last = ([r for r in finals if r["iterations"] == iterations] for iterations in (3, 6))
    assert [r["phase"] for r in first] == ["reference", *["final"] * 3]
    assert [r["phase"] for r in last] == ["reference"] * 2 + ["final"] * 4
    assert all(r["kept_iteration"] in (4, 6) for r in last), "of the last round, which goes on from 3"
    assert all(r["kept_iteration"] is None for r in first)
    assert len({r["valid_loss"] for r in last}) == len(last), "every network has a seed of its own"
    summary = json.loads((unbroken / "summary.json").read_text())
    assert [f["networks"] for f in summary["finalists"]].count(2) == 3
    best = torch.load(unbroken / "best.pt", weights_only=True)
    assert best["arch"] == summary["best"]["arch"]
    assert summary["best"]["kept_iteration"] in (4, 6)


def test_killed_again_and_again(unbroken: Path, tmp_path: Path) -> None:
    """In every round: each resumption is killed at its seventh write."""
    assert kill_again_and_again(arguments(tmp_path / "run"), tmp_path / "run", 7) >= 5
    assert outcome(tmp_path / "run") == outcome(unbroken)


def test_a_round_goes_on_where_the_one_before_it_stopped(unbroken: Path, tmp_path: Path) -> None:
    """A training in two rounds is the one that a single round makes, to the last bit."""
    halves, whole = tmp_path / "halves", tmp_path / "whole"
    last = ["budget.keep=last", "budget.final_seeds=1", "budget.final_candidates=2"]
    assert spawn(arguments(halves, *last)) == 0
    assert spawn(arguments(whole, *last, "budget.final_rounds=1")) == 0
    in_full = []
    for directory in (halves, whole):
        lines, _ = read(directory / "journal.jsonl")
        ends = [r for r in lines if r["event"] == "finished" and r["iterations"] == 6]
        in_full.append({r["arch"]: r["valid_loss"] for r in ends})
    assert len(in_full[0]) == 2
    assert in_full[0].items() <= in_full[1].items()
