"""`nasmeta report` and `nasmeta compare`: output, exit codes, and what they load."""

import json
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from tests.cli.runs import SHORT
from tests.cli.test_resume_strategies import killed
from tests.reporting.stored_runs import copied, searched, summary_of, table_search
from tests.test_layers import loaded


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table_search(tmp_path_factory.mktemp("runs") / "a run")


def test_report_prints_where_the_page_is(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run)]) == 0
    assert capfd.readouterr().out == f"{run}/report.html\n"
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    assert main(["report", str(run), "--output", str(tmp_path / "x.html")]) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'x.html'}\n"


@pytest.mark.usefixtures("undrawn")
def test_only_a_report_is_replaced(run: Path, tmp_path: Path) -> None:
    assert main(["report", str(run), "--output", str(tmp_path / "x.html")]) == 0
    assert main(["report", str(run), "--output", str(tmp_path / "x.html")]) == 0
    (tmp_path / "thesis.html").write_text("<html>mine</html>")
    assert main(["report", str(run), "--output", str(tmp_path / "thesis.html")]) == 2
    assert (tmp_path / "thesis.html").read_text() == "<html>mine</html>"


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_resumed_behind_its_report(run: Path, tmp_path: Path) -> None:
    directory = copied(run, tmp_path / "run", lines=9)
    assert main(["report", str(directory)]) == 0
    before = (directory / "report.html").read_text()
    assert main(["resume", str(directory)]) == 0
    assert summary_of(directory)["best"] == summary_of(run)["best"]
    assert main(["report", str(directory)]) == 0
    assert "nasmeta resume" in before
    assert "nasmeta resume" not in (directory / "report.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_watched_page_is_renewed_until_the_run_has_ended(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = copied(run, tmp_path / "run", lines=9)
    pages = []

    def slept(seconds: float) -> None:
        pages.append((directory / "report.html").read_text())
        if len(pages) == 2:
            (directory / "journal.jsonl").write_bytes((run / "journal.jsonl").read_bytes())
            (directory / "summary.json").write_bytes((run / "summary.json").read_bytes())

    monkeypatch.setattr("time.sleep", slept)
    assert main(["report", str(directory), "--watch", "5"]) == 0
    assert len(pages) == 2
    assert all('http-equiv="refresh" content="5.0"' in page for page in pages)
    assert 'http-equiv="refresh"' not in (directory / "report.html").read_text()
    assert main(["report", str(directory), "--watch"]) == 0
    assert len(pages) == 2, "it has ended"
    with pytest.raises(SystemExit):
        main(["report", str(directory), "--watch", "0"])
    assert "--watch: got '0'" in capfd.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_a_finished_run_that_goes_on_for_more_is_watched_to_its_new_end(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = copied(run, tmp_path / "run")
    assert killed(["resume", str(directory), "budget.trials=30"], 9)
    slept = []

    def resumed(seconds: float) -> None:
        slept.append(seconds)
        assert main(["resume", str(directory)]) == 0

    monkeypatch.setattr("time.sleep", resumed)
    assert main(["report", str(directory), "--watch", "5"]) == 0
    assert slept == [5]
    assert len(searched(directory)) == 30


def test_a_sweep_of_trained_networks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "sweep"
    grid = [f"hydra.sweep.dir={sweep}", "-m", "seed=0,1", "meta_learner.inner_lr=0.01,1e30"]
    assert main(["search", *SHORT, *grid]) == 1
    capfd.readouterr()
    assert main(["compare", str(sweep)]) == 0
    out = capfd.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[2:6]] == ["0", "1", "2", "3"]
    assert out.count("mean of 2 seeds") == 1
    assert out.count("trials all failed") == 2
    assert main(["report", str(sweep)]) == 0
    page = (sweep / "report.html").read_text()
    assert "2 of 4 runs " in page
    assert "trials all failed" in page


def test_compare_prints_one_json_object_a_run(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = table_search(run.parent / "b", "seed=4", "strategy=random")
    capfd.readouterr()
    assert main(["compare", str(run.parent), "--json", "--sort", "name"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["a run", "b"]
    assert [row["directory"] for row in rows] == [str(run), str(other)]
    assert [row["settings"]["seed"] for row in rows] == [0, 4]
    for row, directory in zip(rows, (run, other), strict=True):
        best = summary_of(directory)["best"]
        assert {name: row[name] for name in ("arch", "test_accuracy", "test_ci95", "params")} == {
            name: best[name] for name in ("arch", "test_accuracy", "test_ci95", "params")
        }
        assert row["reference_test_accuracy"] == summary_of(directory)["reference"]["test_accuracy"]


def test_json_keeps_its_lines_and_warns_beside_them(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    going_on = [
        copied(run, tmp_path / str(shot), lines=3, change=lambda r, shot=shot: _with_shot(r, shot))
        for shot in (1, 5)
    ]
    assert main(["compare", "--json", *map(str, going_on)]) == 0
    out, err = capfd.readouterr()
    assert len([json.loads(line) for line in out.splitlines()]) == 2
    assert err == "the runs differ in shot (1, 5), so their scores do not compare\n"


def _with_shot(record: dict, shot: int) -> dict:
    if "config" not in record:
        return record
    config = {**record["config"], "task": {**record["config"]["task"], "shot": shot}}
    return {**record, "config": config}


def test_what_a_stranger_wrote_does_not_steer_the_terminal(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def hostile(record: dict) -> dict:
        return (
            {**record, "config": {**record["config"], "x": "\x1b[2Ja\nb"}} if "config" in record else record
        )

    copied(run, tmp_path / "b\x1b[31m", lines=9, change=hostile)
    copied(run, tmp_path / "a", lines=9)
    assert main(["compare", str(tmp_path)]) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2Ja b" in out


@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_directory_that_is_no_run(command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path, told in ((tmp_path, "name a run"), (tmp_path / "none", "nasmeta search")):
        assert main([command, str(path)]) == 2
        out, err = capfd.readouterr()
        assert not out
        assert err.startswith(f"nasmeta: {path}: ")
        assert told in err
        assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_run_is_one_line(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = copied(run, tmp_path / "run")
    text = (directory / "journal.jsonl").read_text().splitlines(keepends=True)
    (directory / "journal.jsonl").write_text("".join([text[0], "junk\n", *text[1:]]))
    for command in ("report", "compare"):
        assert main([command, str(directory)]) == 2
        err = capfd.readouterr().err
        assert "journal.jsonl: line 2 is damaged" in err
        assert err.count("\n") == 1


def test_an_unknown_key_is_wrong_input(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(run), "--sort", "parms"]) == 2
    assert "did you mean 'params'?" in capfd.readouterr().err


def test_what_the_commands_load(run: Path) -> None:
    assert not loaded("compare", str(run)) & {"torch", "matplotlib", "jinja2", "hydra"}
    heavy = {"torch", "matplotlib", "jinja2", "pydantic", "numpy"}
    assert not loaded("report", "--help") & heavy
    assert not loaded("compare", "--help") & heavy
