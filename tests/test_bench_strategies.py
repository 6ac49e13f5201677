"""scripts/bench/strategies.py: what it counts, and that it goes on where it was."""

import csv
import json
import sys
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nasmeta.search_spaces.nasbench201 import Nasbench201Cell
from nasmeta.search_spaces.nasbench201.architecture import OPERATIONS
from nasmeta.seeding import stream
from tests.scripts import load_beside

CELLS = len(OPERATIONS) ** 6


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load_beside("bench/strategies.py")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every cell; the validation column is a random rank, 1 to 15,625, the test column minus half of it."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    ranks = stream(0, "ranks").permutation(CELLS) + 1
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "seen", "judged"])
        for ops, rank in zip(product(OPERATIONS, repeat=6), ranks.tolist(), strict=True):
            writer.writerow([Nasbench201Cell(ops), rank, -rank / 2])
    return path


def main(bench: ModuleType, table: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    columns = ["--table", str(table), "--valid", "seen", "--test", "judged", "--at", "5", "30"]
    monkeypatch.setattr(sys, "argv", ["strategies.py", *arguments, *columns, "--queries", "30"])
    code: int = bench.main()
    return code


def test_random_search_finds_what_the_best_of_random_draws_is(
    bench: ModuleType, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "r.jsonl"
    assert main(bench, table, monkeypatch, "random", "--seeds", "80", "--results", str(results)) == 0
    outcomes = [bench.Outcome(**each) for each in bench.results_file.kept(results)]
    assert [outcome.seed for outcome in outcomes] == list(range(80))
    for queries in (5, 30):
        best = np.array([outcome.at(queries, 1) for outcome in outcomes])
        # The expected maximum of n distinct ones of the ranks 1 to N is (N + 1) n / (n + 1).
        error = abs(best.mean() - (CELLS + 1) * queries / (queries + 1))
        assert error < 4 * best.std(ddof=1) / 80**0.5
        assert [outcome.at(queries, 2) for outcome in outcomes] == (-best / 2).tolist()


def test_it_goes_on_where_it_was(
    bench: ModuleType,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results, picture = tmp_path / "r.jsonl", tmp_path / "regret.png"
    arguments = ["random", " evolution  start=random", "--seeds", "3"]
    kept = ["--results", str(results), "--plot", str(picture)]
    assert main(bench, table, monkeypatch, *arguments) == 0
    whole = capsys.readouterr().out
    assert main(bench, table, monkeypatch, *arguments[:-1], "2", *kept) == 0
    lines = results.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    results.write_text("".join(lines[:3]) + lines[3][:20])  # killed while it wrote the last line
    capsys.readouterr()
    assert main(bench, table, monkeypatch, *arguments, *kept) == 0
    assert results.read_text().startswith("".join(lines[:3]))
    assert len([json.loads(line) for line in results.read_text().splitlines()]) == 6

    def without_seconds(text: str) -> list[str]:
        return [line.rpartition("|")[0].rpartition("|")[0] for line in text.splitlines()]

    assert without_seconds(capsys.readouterr().out) == without_seconds(whole)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_summary_is_means_with_standard_errors_and_shares(bench: ModuleType) -> None:
    valid, test = {"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 10.0, "b": 30.0, "c": 20.0}
    table = bench.Table(*({(arch, 1): value for arch, value in column.items()} for column in (valid, test)))
    outcomes = [
        bench.Outcome("x", 0, 4, [(1, 1.0, 10.0), (3, 3.0, 20.0)], 2.0),
        bench.Outcome("x", 1, 4, [(1, 2.0, 30.0)], 6.0),
    ]
    row = [cell.strip() for cell in bench.summary(outcomes, table, [2, 4]).splitlines()[-1].split("|")]
    assert row[1:-1] == ["x", "2", "20.000 ± 10.000", "25.000 ± 5.000", "0 %", "50 %", "1.0000"]


def test_a_query_is_a_full_training_and_a_shorter_one_its_share(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hyperband on two budgets: 3 architectures for 1/3, one of them for the other 2/3, then two in full."""
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "kind", "steps", "seen", "judged"])
        for number, ops in enumerate(product(OPERATIONS, repeat=6)):
            for kind, steps in product("ab", (100, 300)):
                writer.writerow(
                    [Nasbench201Cell(ops), kind, steps, number + steps if kind == "a" else 0, number]
                )
    table = bench.read_table(path, "seen", "judged", "steps", ("kind=a",))
    config = bench.configuration("nasbench201", "hyperband min_share=0.3 start=random")
    outcome = bench.play(config, table, "hyperband", 0, queries=2, trials=20)
    assert outcome.improvements[0][0] == pytest.approx(3 / 3 + 2 / 3)
    assert all(valid == test + 300 for _, valid, test in outcome.improvements)
    assert np.isnan(outcome.at(1, 2))


def test_a_strategy_that_plans_by_its_trials_gets_those_that_are_typed(
    bench: ModuleType, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`random` ends with its trials; results of another number of them are made anew."""
    results = tmp_path / "r.jsonl"
    arguments = ["random", "--seeds", "1", "--results", str(results)]
    for trials in ("1", "30", "30"):
        assert main(bench, table, monkeypatch, *arguments, "--trials", trials) == 0
    few, many = (bench.Outcome(**each) for each in bench.results_file.kept(results))
    assert [few.at(1, 1), few.at(30, 1)] == [many.at(1, 1)] * 2
    assert many.at(30, 1) > many.at(1, 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["random", "--valid", "none"], "has no column 'none'"),
        (["random", "--only", "kind=a"], "has no column 'kind'"),
        (["predictr"], "predictor"),
        (["predictor acquisitio=ei"], "strategy.acquisitio"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    bench: ModuleType,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    columns = ["--table", str(table), "--valid", "seen", "--test", "judged"]
    monkeypatch.setattr(sys, "argv", ["strategies.py", *columns, *arguments])
    assert bench.main() == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
