"""scripts/bench/cells.py: it goes on where it was, and a training that diverges does not end it."""

import json
import sys
from pathlib import Path

import pytest

from tests.scripts import load_beside

SMALL = ["dataset=strokes", "dataset.size=8", "search_space.width=4", "search_space.stages=1"]
FEW = ["budget.test_tasks=4", "task.query=2"]


def test_it_makes_what_its_results_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, results = load_beside("bench/cells.py"), tmp_path / "cells.jsonl"
    fixed = ["--results", str(results), "--runs", str(tmp_path), "--seconds", "1", "--methods", "reference"]

    def accuracies(seeds: int, iterations: int, *overrides: str) -> str:
        counts = ["--seeds", str(seeds), "--iterations", str(iterations)]
        monkeypatch.setattr(sys, "argv", ["cells.py", *fixed, *counts, "--", *SMALL, *FEW, *overrides])
        bench.main()
        return capsys.readouterr().out.splitlines()[-1].split("|")[3].strip()

    one = accuracies(1, 2)
    results.write_text(results.read_text() + '{"method": "ref')  # a kill while it wrote
    assert accuracies(1, 2) == one
    accuracies(2, 2)
    accuracies(1, 3)
    assert accuracies(1, 2, "optimizer.lr=1e30") == "0.00 ± nan", "a diverged training is the worst"
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [(line["seed"], line["iterations"]) for line in lines] == [(0, 2), (1, 2), (0, 3), (0, 2)]
    assert [line["test_accuracy"] is None for line in lines] == [False, False, False, True]
