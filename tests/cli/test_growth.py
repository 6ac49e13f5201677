"""More for a run: it ends as one that had asked for as much from the start, killed meanwhile or not."""

import json
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.reporting.read.load import load_run
from nasmeta.run.journal import read
from nasmeta.strategies.random import RandomSearch
from tests.cli.kills import outcome
from tests.cli.runs import TINY
from tests.cli.test_resume_strategies import FAST, TUNED, UNTRAINED, killed
from tests.reporting.stored_runs import Page

CHEAP = [*FAST, *UNTRAINED]
HALVING = [
    *(o for o in FAST if "search_iterations" not in o),
    *("strategy=hyperband", "strategy.eta=2", "strategy.min_share=0.3", "budget.search_iterations=4"),
]
TINY_RANDOM = [o for o in TINY if not o.startswith("strategy.")] + ["strategy=random", "budget.trials=2"]
CONSTANT, COSINE = "optimizer.schedule=constant", "optimizer.schedule=cosine"
MORE = ["budget.trials=9", "budget.final_candidates=2", "budget.test_tasks=4"]

SEARCHES = {
    "random": ([*CHEAP, "strategy=random"], MORE),
    "evolution": ([*CHEAP, "strategy.population_size=2", "strategy.sample_size=2"], MORE),
    "nsga2": ([*CHEAP, "strategy=nsga2", "strategy.population_size=3"], MORE),
    "local_search": ([*CHEAP, "strategy=local_search", "strategy.starts=2"], MORE),
    "tuned": ([*FAST, *TUNED], MORE),
    "asha": ([*HALVING, "strategy.mode=asha"], MORE),
    "whole brackets": ([*HALVING, "strategy.mode=hyperband", "budget.trials=3"], ["budget.trials=6"]),
    "longer finals": ([*TINY_RANDOM, CONSTANT], ["budget.final_iterations=7", "budget.final_seeds=2"]),
    "longer finals, anew": ([*TINY_RANDOM, COSINE], ["budget.final_iterations=7"]),
    "more rounds": (
        [*TINY_RANDOM, CONSTANT, "budget.trials=4"],
        ["budget.final_rounds=2", "budget.final_candidates=4", "budget.final_iterations=8"],
    ),
    "the best iterate": (
        [*TINY_RANDOM, CONSTANT, "budget.keep=best", "budget.judge_every=2"],
        ["budget.final_rounds=2", "budget.final_iterations=6"],
    ),
}  # fmt: skip


def begun(directory: Path, overrides: list[str]) -> list[str]:
    return ["search", *overrides, f"hydra.run.dir={directory}"]


def ended(directory: Path) -> dict[str, Any]:
    """How a run has ended: its full trainings without their numbers, its search in the journal's order."""
    told = outcome(directory)
    journal = told.pop("journal")
    finals: dict[str, Any] = {}
    for line in journal:
        if line["event"] == "finished" and line["phase"] != "search":
            named = {key: value for key, value in line.items() if key not in ("trial", "continues", "crc")}
            key = [line.get(name) for name in ("phase", "arch", "iterations", "network", "spans")]
            finals[json.dumps(key)] = named
    search = [r for r in journal if r["event"] == "asked" or r.get("phase") == "search"]
    search = [{key: value for key, value in line.items() if key != "crc"} for line in search]
    return {**told, "search": search, "finals": finals}


@pytest.mark.parametrize("name", SEARCHES)
def test_it_ends_as_one_that_asked_for_as_much_from_the_start(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides, more = SEARCHES[name]
    assert main(begun(tmp_path / "whole", [*overrides, *more])) == 0
    whole = ended(tmp_path / "whole")
    twice = name in ("evolution", "longer finals", "the best iterate")
    for directory, kill_at in [(tmp_path / "grown", 0), (tmp_path / "killed", 9)][: 1 + twice]:
        assert main(begun(directory, overrides)) == 0
        first = [(directory / file).read_bytes() for file in ("best.pt", "summary.json")]
        command, kills = ["resume", str(directory), *more], 0
        while kill_at and killed(command, kill_at):
            command, kills = ["resume", str(directory)], kills + 1
            if kills == 1:
                assert load_run(directory).status == "done"
                assert load_run(directory, latest=True).status == "unfinished"
                assert first == [(directory / file).read_bytes() for file in ("best.pt", "summary.json")]
            assert kills < 30, "the run makes no progress"
        assert kill_at == 0 or kills
        if not kill_at:
            assert main(command) == 0
        grown = ended(directory)
        assert whole["finals"].items() <= grown["finals"].items()
        assert {**grown, "finals": whole["finals"]} == whole
        earlier = directory / "earlier" / "1"
        assert first == [(earlier / file).read_bytes() for file in ("best.pt", "summary.json")]
    err = capfd.readouterr().err
    assert ("trained anew" in err) == (name in ("longer finals, anew", "the best iterate"))
    assert "not those of a run that began with as many" not in err


def test_a_full_training_goes_on_where_it_had_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(begun(tmp_path, [*TINY_RANDOM, CONSTANT])) == 0
    assert main(["resume", str(tmp_path), "budget.final_iterations=7"]) == 0
    lines, _ = read(tmp_path / "journal.jsonl")
    finals = [r for r in lines if r["event"] == "finished" and r["phase"] != "search"]
    short = {(r["phase"], r["arch"]): r["trial"] for r in finals if r["iterations"] == 4}
    long = {(r["phase"], r["arch"]): r["continues"] for r in finals if r["iterations"] == 7}
    assert short == long
    (extended,) = [r for r in lines if r["event"] == "extended"]
    assert extended["added"] == {"budget.final_iterations": [4, 7]}
    assert extended["at"] > lines[0]["at"]
    best = json.loads((tmp_path / "summary.json").read_text())["best"]
    both = [r["train_seconds"] for r in finals if r["arch"] == best["arch"]]
    assert len(both) == 2
    assert best["train_seconds"] == pytest.approx(sum(both))
    assert load_run(tmp_path).changes == ()
    assert main(["show", str(tmp_path)]) == 0
    assert main(["report", str(tmp_path)]) == 0
    for told in (capsys.readouterr().out, Page(tmp_path / "report.html").text):
        assert "budget.final_iterations 4 -> 7" in told
        assert "earlier/1" in told


def test_a_cut_bracket_is_told_before_it_begins(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(begun(tmp_path, [*HALVING, "strategy.mode=hyperband", "budget.trials=4"])) == 0
    assert main(["resume", str(tmp_path), "budget.trials=8"]) == 0
    assert "budget.trials: the last bracket was cut" in capfd.readouterr().err
    assert main(["resume", str(tmp_path)]) == 0, "it replays"


def test_more_seconds_search_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The seconds of the finals and of the test are none of the search's."""
    assert (
        main(begun(tmp_path, [*CHEAP, "strategy=random", "budget.max_seconds=0.2", "budget.trials=5000"]))
        == 0
    )
    trials = json.loads((tmp_path / "summary.json").read_text())["trials"]
    assert 0 < trials < 5000
    assert f"nasmeta resume {tmp_path} budget.max_seconds=0.4" in capfd.readouterr().out
    assert main(["resume", str(tmp_path), "budget.max_seconds=0.4"]) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["trials"] > trials


def test_a_strategy_that_cannot_go_on_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(begun(tmp_path, [*CHEAP, "strategy=random", "budget.trials=2"])) == 0
    before = (tmp_path / "journal.jsonl").read_bytes()
    monkeypatch.setattr(RandomSearch, "open_ended", False)
    assert main(["resume", str(tmp_path), "budget.trials=3"]) == 2
    assert "budget.trials: strategy random plans" in capfd.readouterr().err
    assert (tmp_path / "journal.jsonl").read_bytes() == before
    assert main(["resume", str(tmp_path), "budget.test_tasks=3"]) == 0


def test_an_unfinished_run_may_grow_too(tmp_path: Path) -> None:
    overrides = [*CHEAP, "strategy=nsga2", "strategy.population_size=3"]
    assert main(begun(tmp_path / "whole", [*overrides, *MORE])) == 0
    assert killed(begun(tmp_path / "run", overrides), 9)
    assert main(["resume", str(tmp_path / "run"), *MORE]) == 0
    assert ended(tmp_path / "run") == ended(tmp_path / "whole")


def test_a_training_under_another_schedule_does_not_go_on(tmp_path: Path) -> None:
    """Interrupted in the finals, then given a longer schedule: what was begun is dropped."""
    overrides = [*TINY_RANDOM, COSINE, "budget.final_iterations=8", "save_seconds=0"]
    assert main(begun(tmp_path / "whole", [*overrides, "budget.final_iterations=9"])) == 0
    assert killed(begun(tmp_path / "run", overrides), 24)
    assert list((tmp_path / "run" / "checkpoints").glob("reference*.pt"))
    assert main(["resume", str(tmp_path / "run"), "budget.final_iterations=9"]) == 0
    assert ended(tmp_path / "run") == ended(tmp_path / "whole")
