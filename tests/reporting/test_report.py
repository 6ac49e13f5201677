"""The page of a run: what is on it, and that nothing on it can do harm."""

import base64
import csv
import io
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.errors import RunDirectoryError
from nasmeta.reporting.numbers import duration, human, percent
from nasmeta.reporting.pages.report import write_report
from nasmeta.reporting.read.load import load_run
from nasmeta.reporting.tables.verdict import verdict
from nasmeta.run.directory import RunDirectory
from nasmeta.run.journal import Journal
from tests.cli.test_resume_gradient import arguments as gradient_arguments
from tests.reporting.stored_runs import (
    HOSTILE,
    contents,
    copied,
    figures,
    page_of,
    records,
    searched,
    summary_of,
)

SCORES = [
    "score of each trial, in the order in which they ended",
    "score of each trial over time",
    "score against parameters",
    "score against FLOPs",
]


def test_the_numbers_of_a_run_are_those_of_its_summary(table_run: Path, tmp_path: Path) -> None:
    page = page_of(table_run, tmp_path)
    summary = summary_of(table_run)
    for name, side in (("searched", summary["best"]), ("reference", summary["reference"])):
        assert page.row(name) == [
            name,
            percent(side["test_accuracy"], side["test_ci95"]),
            "-",
            "-",
            human(side["params"]),
            human(side["flops"]),
            duration(side["train_seconds"]),
        ]
        assert side["arch"] in page.text
    assert verdict(summary) in page.text
    assert "best.pt" in page.text
    assert figures(page)[:4] == SCORES
    assert figures(page)[4:] == [f"the graph of {summary[s]['arch']}" for s in ("best", "reference")]
    assert page.row("seed") == ["seed", "2"]
    assert page.row("trials", "25, 0 of them failed")
    assert page.row("versions")[1].startswith(f"nasmeta {summary['versions']['nasmeta']}, python ")
    assert page.row("made again by")[1].startswith("nasmeta search search_space=conv_small ")
    assert page.row("evaluator.table") == ["evaluator.table", "fewshot_conv"]
    assert "details" in {tag for tag, _ in page.tags}


@pytest.mark.usefixtures("undrawn")
def test_the_ten_best_trials(table_run: Path, tmp_path: Path) -> None:
    expected = sorted(searched(table_run), key=lambda r: -float(r["valid_accuracy"]))[:10]
    assert page_of(table_run, tmp_path).table("trial", "validation accuracy (%)") == [
        [
            str(r["trial"]),
            percent(r["valid_accuracy"], r["valid_ci95"]),
            human(r["params"]),
            human(r["flops"]),
            str(r["iterations"]),
            duration(r["seconds"]),
            r["arch"],
        ]
        for r in expected
    ]


def test_what_the_search_preferred_and_how_all_was_learned(sine_run: Path, tmp_path: Path) -> None:
    shown = [str(attrs["alt"]) for tag, attrs in page_of(sine_run, tmp_path).tags if tag == "img"]
    assert "mean width, over the search" in shown
    assert "how the networks learned" in shown
    assert "how the test tasks went" in shown


@pytest.mark.usefixtures("undrawn")
def test_every_trial_is_in_the_csv(sine_run: Path, tmp_path: Path) -> None:
    page = page_of(sine_run, tmp_path)
    link = next(attrs["href"] for tag, attrs in page.tags if tag == "a")
    text = base64.b64decode(str(link).partition(",")[2]).decode()
    every = list(csv.DictReader(io.StringIO(text)))
    assert [row["phase"] for row in every[-3:]] == ["final", "final", "reference"]
    rows = [row for row in every if row["phase"] == "search"]
    assert [int(row["trial"]) for row in rows] == [r["trial"] for r in searched(sine_run)]
    assert [float(row["valid_loss"]) for row in rows] == [r["valid_loss"] for r in searched(sine_run)]
    assert [float(row["elapsed"]) for row in rows] == [r["elapsed"] for r in searched(sine_run)]


@pytest.mark.usefixtures("undrawn")
def test_regression_is_told_in_losses(sine_run: Path, tmp_path: Path) -> None:
    page = page_of(sine_run, tmp_path)
    assert page.row("", "test MSE")
    assert "validation loss (MSE)" in page.text
    best = summary_of(sine_run)["best"]
    assert f"{best['test_loss']:.3f} ± {best['test_ci95']:.3f}" in page.text
    scores = [float(row[1].split(" ")[0]) for row in page.table("trial", "validation loss (MSE)")]
    assert scores == sorted(scores), "less is better"
    assert "searched - reference, on the same tasks: " in page.text


@pytest.mark.usefixtures("undrawn")
def test_the_stored_front_is_listed(front_run: Path, tmp_path: Path) -> None:
    page = page_of(front_run, tmp_path)
    members = summary_of(front_run)["pareto"]
    rows = page.table("trial", "validation accuracy (%)", "parameters")[: len(members)]
    assert [row[0] for row in rows] == [str(member["trial"]) for member in members]
    assert [row[-1] for row in rows] == [member["arch"] for member in members]


def test_latencies_that_were_measured_are_drawn(table_run: Path, tmp_path: Path) -> None:
    def timed(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "latency_ms": 0.5 + record["trial"]} if record["event"] == "finished" else record

    assert "score against latency" not in figures(page_of(table_run, tmp_path))
    page = page_of(copied(table_run, tmp_path / "run", change=timed), tmp_path)
    assert figures(page)[2:5] == [*SCORES[2:], "score against latency"]
    for trial, latency in [(row[0], row[4]) for row in page.table("trial", "validation accuracy (%)")]:
        assert latency == f"{0.5 + int(trial):.3g} ms"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("lines", [1, 2, 9, -3, -1])
def test_a_run_that_has_not_ended_says_how_to_go_on(lines: int, table_run: Path, tmp_path: Path) -> None:
    directory = copied(table_run, tmp_path / "a run", lines=lines)
    with RunDirectory(directory).lock():
        before = contents(directory)
        page = page_of(directory, tmp_path)
        assert contents(directory) == before, "reports change nothing"
    done = len(searched(directory))
    assert f" {done} of 25 trials " in page.text
    assert f": nasmeta resume '{directory}'" in page.text
    assert ("the best are being trained in full" in page.text) == (lines < 0)
    assert (": valid " in page.text) == (done > 0)
    assert figures(page)[:4] == (SCORES if done else [])


def test_a_failed_run_says_why(failed_run: Path, tmp_path: Path) -> None:
    page = page_of(failed_run, tmp_path)
    assert "all 20 trials " in page.text
    rows = page.table("trials", "reason")
    assert sum(int(row[0]) for row in rows) == 20
    assert not figures(page)


def test_a_run_that_is_only_a_configuration(table_run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(table_run / "config.json", tmp_path / "run")
    assert "0 of 25 trials " in page_of(tmp_path / "run", tmp_path).text


@pytest.mark.parametrize("name", ["gdas", "metanas"])
def test_gradient_strategies(name: str, tmp_path: Path) -> None:
    assert main(gradient_arguments(name, tmp_path / "run")) == 0
    page = page_of(tmp_path / "run", tmp_path)
    assert figures(page)[:4] == SCORES
    adaptive = "Not drawn: every task takes an architecture of its own" in page.text
    assert adaptive == (name == "metanas")


def test_what_a_stranger_wrote_is_text(table_run: Path, tmp_path: Path) -> None:
    def hostile(record: dict[str, Any]) -> dict[str, Any]:
        changes: dict[str, Any] = {"arch": HOSTILE} if "arch" in record else {}
        if record.get("trial") == 3 and record.get("phase") == "search":
            changes |= {"status": "failed", "reason": f'"><img src=x onerror="{HOSTILE}">'}
        if "config" in record:
            changes |= {"config": {**record["config"], HOSTILE: HOSTILE, "device": "javascript:alert(1)"}}
            changes |= {"versions": {"torch": HOSTILE}, "device": HOSTILE}
            changes |= {"options": [HOSTILE], "overrides": [f"a={HOSTILE}"]}
        return {**record, **changes}

    def told(summary: dict[str, Any]) -> dict[str, Any]:
        side = {**summary["best"], "arch": HOSTILE, "batch_norm": HOSTILE}
        return {**summary, "best": side, "reference": side, "device": HOSTILE, "command": HOSTILE}

    directory = copied(table_run, tmp_path / f"run {HOSTILE[:8]}", change=hostile, summary=told)
    page = page_of(directory, tmp_path)
    assert HOSTILE in page.text
    assert page.row("trials", "25, 1 of them failed")
    assert HOSTILE not in (tmp_path / "page.html").read_text()
    assert "Not drawn: " in page.text


@pytest.mark.usefixtures("undrawn")
def test_a_spreadsheet_finds_no_formula(table_run: Path, tmp_path: Path) -> None:
    changed = copied(
        table_run, tmp_path / "run", change=lambda r: {**r, "arch": "=1+1"} if "arch" in r else r
    )
    page = page_of(changed, tmp_path)
    link = next(str(attrs["href"]) for tag, attrs in page.tags if tag == "a")
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(link.partition(",")[2]).decode())))
    assert {row["arch"] for row in rows} == {"'=1+1"}


@pytest.mark.usefixtures("undrawn")
def test_a_configuration_that_names_foreign_code_runs_none_of_it(table_run: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"

    def foreign(record: dict[str, Any]) -> dict[str, Any]:
        if "config" not in record:
            return record
        space = {"_target_": "os.mkdir", "path": str(proof)}
        return {**record, "config": {**record["config"], "search_space": space}}

    directory = copied(table_run, tmp_path / "run", change=foreign)
    page = page_of(directory, tmp_path)
    assert "search_space._target_: 'os.mkdir'" in page.text
    assert figures(page) == SCORES
    page_of(directory, tmp_path, trusted=True)
    assert not proof.exists(), "and what is no search space is not built, trusted or not"


@pytest.mark.usefixtures("undrawn")
def test_where_the_page_is_written(table_run: Path, tmp_path: Path) -> None:
    directory = copied(table_run, tmp_path / "run")
    before = contents(directory)
    assert write_report(directory, None, trusted=False) == directory / "report.html"
    after = contents(directory)
    assert {**after, **before} == after
    assert set(after) - set(before) == {str(directory / "report.html")}
    with pytest.raises(RunDirectoryError, match=r"x\.html: .*--output"):
        write_report(directory, tmp_path / "none" / "x.html", trusted=False)
    with pytest.raises(RunDirectoryError, match="run: is a folder"):
        write_report(directory, directory, trusted=False)


@pytest.mark.usefixtures("undrawn")
def test_a_page_is_called_by_what_was_searched_where_and_when(table_run: Path, tmp_path: Path) -> None:
    page = page_of(table_run, tmp_path)
    heading = page.text.split("nasmeta")[0]
    assert "evolution in conv_small: the table fewshot_conv, 20" in heading
    began = time.localtime(records(table_run)[0]["at"])
    assert f"{table_run.resolve()}, started {time.strftime('%Y-%m-%d %H:%M', began)}" in page.text


@pytest.mark.usefixtures("undrawn")
def test_what_is_trained_is_named_by_its_task(sine_run: Path, tmp_path: Path) -> None:
    assert "in mlp: fomaml on sinusoid, 5-shot regression, 20" in page_of(sine_run, tmp_path).text


@pytest.mark.usefixtures("undrawn")
def test_a_page_of_a_run_of_unknown_settings_has_its_folders_name(table_run: Path, tmp_path: Path) -> None:
    def unknown(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "config": {"x": 1}} if "config" in record else record

    page = page_of(copied(table_run, tmp_path / "a run", change=unknown), tmp_path)
    assert page.text.strip().startswith("a run, 20")


@pytest.mark.usefixtures("undrawn")
def test_the_reference_found_again_is_one_row(table_run: Path, tmp_path: Path) -> None:
    def reference_chosen(s: dict[str, Any]) -> dict[str, Any]:
        return {**s, "chosen": "reference", "best": s["reference"], "difference": None}

    directory = copied(table_run, tmp_path / "run", summary=reference_chosen)
    page = page_of(directory, tmp_path)
    assert "nothing that validation prefers to the reference" in page.text
    assert page.row("reference")
    assert not [row for row in page.rows if row[:1] == ["searched"]]


@pytest.mark.usefixtures("undrawn")
def test_settings_after_the_test_gave_no_result(table_run: Path, tmp_path: Path) -> None:
    directory = copied(table_run, tmp_path / "run")
    start = records(table_run)[0]
    with Journal(directory / "journal.jsonl") as journal:
        config = {**start["config"], "seed": 999, "budget": {**start["config"]["budget"], "trials": 99}}
        journal.append("resumed", config=config, versions={"torch": "9"})
    page = page_of(directory, tmp_path)
    assert page.row("seed") == ["seed", "2"]
    assert page.row("budget.trials") == ["budget.trials", "25"]
    assert "999" not in [cell for row in page.rows for cell in row]


@pytest.mark.usefixtures("undrawn")
def test_settings_that_were_forced_on_the_way_are_told(table_run: Path, tmp_path: Path) -> None:
    whole = copied(table_run, tmp_path / "whole", lines=9)
    start = records(table_run)[0]
    with Journal(whole / "journal.jsonl") as journal:
        journal.append("resumed", config={**start["config"], "seed": 7, "progress": True}, versions={})
    page = page_of(whole, tmp_path)
    assert "(seed: 2, 7)" in page.text
    assert not [row for row in page.rows if row[:1] == ["made again by"]]


@pytest.mark.usefixtures("undrawn")
def test_text_of_megabytes_is_shortened(table_run: Path, tmp_path: Path) -> None:
    long = "conv3-8.bn.relu.max_" * 200_000

    def told(summary: dict[str, Any]) -> dict[str, Any]:
        return {**summary, "best": {**summary["best"], "arch": long}}

    page = page_of(copied(table_run, tmp_path / "run", summary=told), tmp_path)
    assert "4000000 characters" in page.text
    assert len(page.text) < 100_000


def test_no_journal_names_an_architecture_of_megabytes(table_run: Path, tmp_path: Path) -> None:
    def longer(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "arch": "conv3-8.bn.relu.max_" * 200_000} if record.get("trial") == 3 else record

    with pytest.raises(RunDirectoryError, match=r"journal\.jsonl.*arch"):
        load_run(copied(table_run, tmp_path / "run", change=longer))


@pytest.mark.usefixtures("undrawn")
def test_controls_do_not_reorder_a_page(table_run: Path, tmp_path: Path) -> None:
    def hostile(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "arch": "a\u202eb\x1b[2J"} if "arch" in record else record

    page = page_of(copied(table_run, tmp_path / "run", change=hostile), tmp_path)
    assert "a\\u202eb\\x1b[2J" in page.text
    assert not {"\u202e", "\x1b"} & set(page.text)


def test_the_records_used_here_are_those_of_a_run(table_run: Path) -> None:
    events = [r["event"] for r in records(table_run)]
    assert events[0] == "started"
    assert events[-1] == "tested"
