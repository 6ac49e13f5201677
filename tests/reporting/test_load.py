"""Run directories as plain values: at every moment of a run, damaged ones, and those of somebody else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.errors import RunDirectoryError
from nasmeta.reporting.pages.report import write_report
from nasmeta.reporting.read.load import load_all, load_run, load_sweep
from nasmeta.run.directory import RunDirectory
from nasmeta.run.journal import Record
from nasmeta.run.manifest import MANIFEST
from tests.reporting.stored_runs import contents, copied, records, searched, summary_of


def test_a_run_that_is_done(table_run: Path) -> None:
    run = load_run(table_run)
    assert (run.status, run.reason, run.in_flight) == ("done", None, 0)
    assert run.summary is not None
    summary = summary_of(table_run)
    assert run.summary["best"] == summary["best"]
    assert run.summary["reference"] == summary["reference"]
    assert [r.trial for r in run.results] == [r["trial"] for r in searched(table_run)]
    assert [t.elapsed for t in run.trials] == [r["elapsed"] for r in searched(table_run)]
    assert run.best is not None
    assert run.best.valid_accuracy == max(r["valid_accuracy"] for r in searched(table_run))
    assert run.settings["seed"] == 2
    assert run.settings["evaluator.table"] == "fewshot_conv"
    assert run.command is not None
    assert run.command.overrides[-1] == "seed=2"


def test_a_run_at_every_moment(table_run: Path, tmp_path: Path) -> None:
    lines = records(table_run)
    for count in range(1, len(lines) + 1, 7):
        run = load_run(copied(table_run, tmp_path / str(count), lines=count))
        events = [r["event"] for r in lines[:count]]
        ended = [r for r in lines[:count] if r["event"] == "finished" and r["phase"] == "search"]
        assert run.status == ("done" if "tested" in events else "unfinished")
        assert (run.summary is None) == ("tested" not in events)
        assert len(run.trials) == len(ended)
        assert run.in_flight == events.count("asked") - len(ended)
        assert run.elapsed == max((r.get("elapsed", 0.0) for r in lines[:count]), default=0.0)


def test_reading_takes_no_lock_and_changes_nothing(table_run: Path) -> None:
    before = contents(table_run)
    with RunDirectory(table_run).lock(), open(table_run / "journal.jsonl", "ab") as journal:
        journal.write(b'{"crc":"0000')  # a line that is being written
        journal.flush()
        assert load_run(table_run).status == "done"
        journal.truncate(journal.tell() - 12)
    after = contents(table_run)
    assert {name: data for name, (data, _) in after.items()} == {n: data for n, (data, _) in before.items()}


def test_a_run_whose_trials_all_failed(failed_run: Path, tmp_path: Path) -> None:
    run = load_run(failed_run)
    assert run.status == "failed"
    assert str(run.reason).startswith("all 20 trials failed, the last one: Diverged: ")
    assert run.best is None
    asked = next(n for n, r in reversed(list(enumerate(records(failed_run)))) if r["event"] == "asked")
    going_on = load_run(copied_without_summary(failed_run, tmp_path / "run", asked + 1))
    assert (going_on.status, going_on.in_flight) == ("unfinished", 1)


def copied_without_summary(source: Path, target: Path, lines: int) -> Path:
    target.mkdir(parents=True)
    shutil.copy(source / "config.json", target)
    whole = (source / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (target / "journal.jsonl").write_bytes(b"".join(whole[:lines]))
    return target


@pytest.mark.parametrize("phases, status", [(("final", "reference"), "failed"), (("final",), "unfinished")])
def test_a_run_whose_finalists_all_failed(
    phases: tuple[str, ...], status: str, sine_run: Path, tmp_path: Path
) -> None:
    """If only the candidates have failed, the reference is chosen."""

    def failing(record: dict[str, Any]) -> dict[str, Any]:
        if record.get("phase") not in phases:
            return record
        nothing = {"valid_loss": None, "valid_ci95": None}
        return {**record, **nothing, "status": "failed", "reason": "Diverged: nan"}

    before_the_test = [r["event"] for r in records(sine_run)].index("tested")
    run = load_run(copied(sine_run, tmp_path / "run", lines=before_the_test, change=failing))
    assert run.status == status
    assert (run.reason or "").count("Diverged: nan") == (3 if status == "failed" else 0)


def test_a_journal_without_a_configuration_has_the_files_and_nothing_is_resolved(
    table_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(record: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in record.items() if key != "config"}

    monkeypatch.setenv("SECRET", "hunter2")
    directory = copied(table_run, tmp_path / "run", change=older)
    config = directory / "config.json"
    assert load_run(directory).settings["seed"] == 2
    config.write_text(config.read_text().replace('"device": "cpu"', '"device": "${oc.env:SECRET}"'))
    with pytest.raises(RunDirectoryError, match=r'config\.json: .*"device": "\$\{oc\.env:SECRET\}"'):
        load_run(directory)


SUMMARY_DAMAGE = {
    "test_accuracy": ("a lot", r"summary\.json: damaged: best\.test_accuracy"),
    "params": (10**40, r"best\.params"),
    "train_seconds": (float("inf"), r"best\.train_seconds"),
    "valid_accuracy": (1e308, r"best\.valid_accuracy"),
    "arch": (None, r"best\.arch"),
}


@pytest.mark.parametrize("key", SUMMARY_DAMAGE)
def test_a_summary_of_other_things_is_refused(key: str, table_run: Path, tmp_path: Path) -> None:
    value, told = SUMMARY_DAMAGE[key]
    wrong = copied(table_run, tmp_path / "run", summary=lambda s: {**s, "best": {**s["best"], key: value}})
    with pytest.raises(RunDirectoryError, match=told):
        load_run(wrong)


def test_a_summary_without_what_is_compared_is_refused(table_run: Path, tmp_path: Path) -> None:
    nothing = {"test_accuracy": None, "test_loss": None}
    wrong = copied(table_run, tmp_path / "run", summary=lambda s: {**s, "best": {**s["best"], **nothing}})
    with pytest.raises(RunDirectoryError, match=r"summary\.json: .*test_loss"):
        load_run(wrong)


def test_a_summary_of_a_newer_format_is_refused(table_run: Path, tmp_path: Path) -> None:
    newer = copied(table_run, tmp_path / "run", summary=lambda s: {"format": 2, "everything": "else"})
    with pytest.raises(RunDirectoryError, match=r"format 2.* 1"):
        load_run(newer)


def test_a_damaged_summary_is_named_with_what_mends_it(table_run: Path, tmp_path: Path) -> None:
    directory = copied(table_run, tmp_path / "run")
    (directory / "summary.json").write_text((directory / "summary.json").read_text() + " ")
    with pytest.raises(RunDirectoryError, match=r"summary\.json: .*checksum.*: nasmeta resume .*run$"):
        load_run(directory)
    (directory / "summary.json").unlink()
    with pytest.raises(RunDirectoryError, match=r"summary\.json: .*No such file"):
        load_run(directory)


@pytest.mark.parametrize(
    "key,value",
    [("params", 10**400), ("seconds", 1e200), ("elapsed", 1e300)],
    ids=["params", "seconds", "elapsed"],
)
def test_numbers_that_no_run_writes_are_refused(
    key: str, value: float, table_run: Path, tmp_path: Path
) -> None:
    wrong = copied(table_run, tmp_path / "run", change=lambda r: {**r, key: value} if key in r else r)
    with pytest.raises(RunDirectoryError, match=rf"line \d+: .*{key}"):
        load_run(wrong)


@pytest.mark.parametrize(
    "measure, value",
    [("valid_loss", 3e34), ("valid_loss", 1.7e308), ("proxy", 1e-300), ("proxy", -1.7e308)],
)
def test_whatever_a_loss_or_a_proxy_is_a_report_reads(
    measure: str, value: float, table_run: Path, tmp_path: Path
) -> None:
    """One diverged trial among others, a front of all, and the summary's side of it."""

    def other(record: Record) -> Record:
        if record["event"] != "finished":
            return record
        score = value if record["trial"] in (1, 3) else 0.5 + record["trial"]
        proxy = {"proxy": score} if measure == "proxy" and record["phase"] == "search" else {}
        interval = None if proxy else abs(score) / 10
        loss = score if measure == "valid_loss" else None
        return {**record, "valid_accuracy": None, "valid_ci95": interval, "valid_loss": loss, **proxy}

    run = load_run(copied(table_run, tmp_path / "run", change=other))
    assert getattr(run.results[1], measure) == value
    report = write_report(run.path, None, trusted=False)
    assert report.stat().st_size > 10_000
    assert main(["compare", str(run.path)]) == 0


def test_a_configuration_of_brackets_is_refused(table_run: Path, tmp_path: Path) -> None:
    deep: Any = {}
    for _ in range(600):
        deep = {"a": deep}
    wrong = copied(
        table_run, tmp_path / "run", change=lambda r: {**r, "config": deep} if "config" in r else r
    )
    with pytest.raises(RunDirectoryError, match="16"):
        load_run(wrong)


def test_a_directory_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="none: "):
        load_run(tmp_path / "none")
    with pytest.raises(RunDirectoryError, match=r"journal\.jsonl, config\.json"):
        load_run(tmp_path)
    with pytest.raises(RunDirectoryError, match="holds no run"):
        load_all([tmp_path])


def test_a_sweep_lists_all_its_jobs(sweep: Path, tmp_path: Path) -> None:
    runs = load_sweep(sweep)
    assert [run.path.name for run in runs] == [str(n) for n in range(6)]
    assert {run.status for run in runs} == {"done"}
    assert [run.settings["seed"] for run in runs] == [0, 0, 0, 1, 1, 1]
    assert runs[1].command is not None
    assert "strategy=evolution" in runs[1].command.overrides

    changed = tmp_path / "sweep"
    shutil.copytree(sweep, changed)
    plan = json.loads((changed / MANIFEST).read_text())
    for number, status in {1: "planned", 2: "failed", 3: "running"}.items():
        plan["jobs"][number].update(status=status, reason="a full disk" if status == "failed" else None)
        shutil.rmtree(changed / str(number))
    shutil.rmtree(changed / "4")
    (changed / "5" / "journal.jsonl").write_text("junk\nmore\n")
    (changed / MANIFEST).write_text(json.dumps(plan))
    runs = load_sweep(changed)
    expected = ["done", "planned", "failed", "unfinished", "unreadable", "unreadable"]
    assert [run.status for run in runs] == expected
    assert runs[2].reason == "a full disk"
    assert "the job is done" in str(runs[4].reason)
    assert "line 1 is damaged" in str(runs[5].reason)
    assert [run.settings["seed"] for run in runs] == [0, 0, 0, 1, 1, 1], "the manifest knows them"


def test_a_job_that_failed_and_left_a_journal(sweep: Path, tmp_path: Path) -> None:
    changed = tmp_path / "sweep"
    shutil.copytree(sweep, changed)
    plan = json.loads((changed / MANIFEST).read_text())
    plan["jobs"][0].update(status="failed", reason="a full disk")
    (changed / MANIFEST).write_text(json.dumps(plan))
    shutil.rmtree(changed / "0")
    copied(sweep / "0", changed / "0", lines=9)
    run = load_sweep(changed)[0]
    assert (run.status, run.reason) == ("failed", "a full disk")
    assert run.trials


def test_a_folder_stands_for_what_is_below_it(sweep: Path, table_run: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(sweep, outputs / "day" / "b")
    shutil.copytree(table_run, outputs / "day" / "a")
    (outputs / "day" / "c").mkdir()
    (outputs / "day" / "c" / "journal.jsonl").write_text("junk\nmore\n")
    runs = load_all([outputs, table_run, outputs / "day" / "b" / ".." / "a"])
    names = [str(run.path.relative_to(outputs)) for run in runs[:-1]]
    assert names == ["day/a", *(f"day/b/{n}" for n in range(6)), "day/c"]
    assert runs[-2].status == "unreadable"
    assert runs[-1].path == table_run
    with pytest.raises(RunDirectoryError, match="line 1 "):
        load_all([outputs / "day" / "c"])
