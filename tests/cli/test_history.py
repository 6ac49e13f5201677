"""`history=[RUN]`: a search begins with the trials of an earlier run."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.reporting.numbers import judged
from nasmeta.reporting.read.load import load_run
from nasmeta.reporting.read.origins import warm_start
from nasmeta.run.journal import read
from tests.cli.kills import outcome
from tests.cli.test_growth import begun
from tests.cli.test_resume_strategies import FAST, UNTRAINED, killed

CHEAP = [*FAST, *UNTRAINED, "search_space=mlp"]
LEARNING = {
    "evolution": ["strategy.population_size=4", "strategy.sample_size=4"],
    "predictor": ["strategy=predictor", "strategy.initial=3", "strategy.mutants=5"],
    "local_search": ["strategy=local_search", "strategy.starts=2"],
    "nsga2": ["strategy=nsga2", "strategy.population_size=4"],
}


def lines(directory: Path, event: str) -> list[dict[str, Any]]:
    return [line for line in read(directory / "journal.jsonl")[0] if line["event"] == event]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of random search."""
    directory = tmp_path_factory.mktemp("earlier") / "run"
    assert main(begun(directory, [*CHEAP, "strategy=random"])) == 0
    return directory


@pytest.mark.parametrize("strategy", LEARNING)
def test_trials_of_an_earlier_run_inform_the_first_proposal_and_are_not_repeated(
    strategy: str, earlier: Path, tmp_path: Path
) -> None:
    assert main(begun(tmp_path / "alone", [*CHEAP, *LEARNING[strategy]])) == 0
    warm = [*CHEAP, *LEARNING[strategy], "seed=1", f"history=[{earlier}]"]
    assert main(begun(tmp_path / "warm", warm)) == 0
    known = {line["arch"] for line in lines(earlier, "finished") if line["phase"] == "search"}
    asked = [line["arch"] for line in lines(tmp_path / "warm", "asked")]
    assert asked[0] != lines(tmp_path / "alone", "asked")[0]["arch"], "it begins where the earlier one ended"
    assert not known & set(asked)
    assert len(asked) == len(lines(tmp_path / "alone", "asked")), "none counts as a trial of this run"


def test_a_killed_run_needs_the_earlier_one_no_more(earlier: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(earlier, copy)
    overrides = [*CHEAP, *LEARNING["evolution"], f"history=[{copy}]"]
    assert main(begun(tmp_path / "whole", overrides)) == 0
    assert killed(begun(tmp_path / "killed", overrides), 6)
    assert lines(tmp_path / "killed", "warm_started")
    shutil.rmtree(copy)
    assert main(["resume", str(tmp_path / "killed")]) == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_the_best_of_the_earlier_run_enters_the_finals_if_it_meets_the_limits(
    earlier: Path, tmp_path: Path
) -> None:
    """The score is the number of parameters, so nothing with fewer can beat the earlier best."""
    trials = [line for line in lines(earlier, "finished") if line["phase"] == "search"]
    best = max(trials, key=lambda line: line["params"])
    for limit, enters in [(best["params"], True), (best["params"] - 1, False)]:
        directory = tmp_path / str(limit)
        limited = [*CHEAP, *LEARNING["evolution"], "seed=2", f"constraints.max_params={limit}"]
        assert main(begun(directory, [*limited, f"history=[{earlier}]"])) == 0
        finals = [line["arch"] for line in lines(directory, "finished") if line["phase"] == "final"]
        assert (best["arch"] in finals) is enters


def test_what_the_trials_of_an_earlier_run_brought(earlier: Path, tmp_path: Path) -> None:
    warm = [*CHEAP, *LEARNING["evolution"], "seed=1", f"history=[{earlier}]"]
    assert main(begun(tmp_path, warm)) == 0
    known, own = load_run(earlier), load_run(tmp_path)
    assert warm_start(known) == ""
    assert known.best is not None
    assert own.best is not None
    for best, whose in ((known.best, "an earlier one"), (own.best, "this run")):
        chosen = {"chosen": "searched", "best": {"arch": best.arch}}
        told = warm_start(replace(own, summary=chosen))
        assert told.startswith(f"{len(known.trials)} trials of {earlier}, the best: {judged(known.best)}; ")
        assert f"own: {judged(own.best)}; " in told
        assert told.endswith(f"network is of {whose}")


def test_the_same_precision_by_another_name(earlier: Path, tmp_path: Path) -> None:
    assert main(begun(tmp_path, [*CHEAP, "precision=fp32", "kernels=torch", f"history=[{earlier}]"])) == 0


def refused(directory: Path, overrides: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The last line of the error of a run that is refused before it proposes anything."""
    capfd.readouterr()
    assert main(begun(directory, overrides)) == 2
    assert not directory.exists(), "no directory is left behind"
    return capfd.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "override",
    [
        "evaluator.proxy=flops",
        "precision=bf16",
        "budget.search_iterations=2",
        "task.shot=4",
        "search_space.max_layers=2",
    ],
)
def test_other_settings_are_refused(
    override: str, earlier: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    error = refused(tmp_path / "new", [*CHEAP, override, f"history=[{earlier}]"], capfd)
    assert "history" in error
    assert override.partition("=")[0] in error


@pytest.mark.parametrize(
    "objective, override, reason",
    [
        ("flash", "constraints.bits=8", "constraints.bits"),
        ("memory", "constraints.bits=8", "constraints.bits"),
        ("latency", "seed=1", "does not say the latency"),
    ],
)
def test_costs_that_do_not_compare_are_refused_as_objectives(
    objective: str,
    override: str,
    reason: str,
    earlier: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    nsga2 = [*LEARNING["nsga2"], f"strategy.objectives=[{objective}]"]
    assert reason in refused(tmp_path / "new", [*CHEAP, *nsga2, override, f"history=[{earlier}]"], capfd)
    assert (
        main(begun(tmp_path / "new", [*CHEAP, *LEARNING["evolution"], override, f"history=[{earlier}]"])) == 0
    )


def test_a_strategy_that_cannot_use_them_is_refused(
    earlier: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides = [*CHEAP, "strategy=iddfs", "strategy.goal=1e9", f"history=[{earlier}]"]
    overrides = [o for o in overrides if o != "evaluator.proxy=params"] + ["evaluator.proxy=vote"]
    assert "history" in refused(tmp_path / "new", overrides, capfd)


def test_what_is_no_run_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    error = refused(tmp_path / "new", [*CHEAP, f"history=[{tmp_path / 'nothing'}]"], capfd)
    assert str(tmp_path / "nothing") in error
