"""`nasmeta train`: one architecture in full, by its string or from a run, as a run like any other."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.config.as_overrides import MADE_ANEW, as_overrides
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.run.manifest import MANIFEST
from tests.cli.kills import kill_again_and_again, outcome, spawn
from tests.cli.runs import TINY, jobs, search

ARCH = "fc16.tanh.none_fc32.relu.layer"
SETTINGS = [override for override in TINY if not override.startswith("strategy.")]


def config_of(directory: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((directory / "config.json").read_text())
    return stored.get("config", stored)


def summary_of(directory: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    return summary


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("searched") / "run"
    assert search(directory, "budget.trials=2", "optimizer=sgd", "optimizer.lr=0.05") == 0
    return directory


def test_an_architecture_is_trained_whatever_kills_it(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def arguments(directory: Path) -> list[str]:
        return ["train", ARCH, *SETTINGS, "save_seconds=0", f"hydra.run.dir={directory}"]

    assert spawn(arguments(whole)) == 0
    assert kill_again_and_again(arguments(killed), killed, 7) >= 2
    assert outcome(killed) == outcome(whole)
    summary = summary_of(whole)
    assert (summary["best"]["arch"], summary["trials"]) == (ARCH, 0)
    assert summary["reference"]["arch"] != ARCH
    phases = [r.get("phase") for r in outcome(whole)["journal"] if r["event"] == "finished"]
    assert sorted(phases) == ["final", "reference"]
    assert main(["report", str(whole)]) == 0


def test_a_training_has_no_trials_to_add(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", ARCH, *SETTINGS, f"hydra.run.dir={tmp_path}"]) == 0
    assert main(["resume", str(tmp_path), "budget.trials=100"]) == 2
    assert "budget.trials: a training searches nothing" in capfd.readouterr().err


def test_a_run_is_where_training_starts_from(searched: Path, tmp_path: Path) -> None:
    directory = tmp_path / "again"
    overrides = ["seed=7", "meta_learner=reptile", f"hydra.run.dir={directory}"]
    assert main(["train", str(searched), *overrides]) == 0
    assert summary_of(directory)["best"]["arch"] == summary_of(searched)["best"]["arch"]
    before, now = config_of(searched), config_of(directory)
    assert now["seed"] == 7
    assert (
        now["meta_learner"] == parse(composed(["meta_learner=reptile"]), trusted=True).groups["meta_learner"]
    )
    assert now["optimizer"] == before["optimizer"]
    assert (now["dataset"], now["task"]) == (before["dataset"], before["task"])


def test_a_recipe_brings_its_settings_without_its_search(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    settings = [o for o in SETTINGS if "meta_batch" not in o]
    command = ["experiment=rea_quick", "constraints.max_flops=null", *settings, f"hydra.run.dir={directory}"]
    assert main(["train", ARCH, *command]) == 0
    summary = summary_of(directory)
    assert (summary["best"]["arch"], summary["chosen"], summary["trials"]) == (ARCH, "given", 0)
    recipe = parse(composed(["experiment=rea_quick"]), trusted=True)
    stored = config_of(directory)
    assert stored["task"]["meta_batch"] == recipe.keys.task.meta_batch
    assert stored["strategy"]["_target_"].endswith("Given")


@pytest.mark.parametrize(
    "what, arguments, told",
    [("RUN", ["experiment=rea_quick"], "RUN"), (ARCH, ["experiment=rea_quick,darts", "-m"], "experiment")],
)
def test_a_recipe_that_cannot_be_used_is_refused_in_one_line(
    what: str,
    arguments: list[str],
    told: str,
    searched: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    what, told = (text.replace("RUN", str(searched)) for text in (what, told))
    capsys.readouterr()
    assert main(["train", what, *arguments, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "experiment: " in line
    assert told in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag_first", [False, True])
def test_a_sweep_over_seeds(flag_first: bool, searched: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    words = ["-m", str(searched / "best.pt")] if flag_first else [str(searched / "best.pt"), "-m"]
    assert main(["train", *words, "seed=0,1", f"hydra.sweep.dir={sweep}"]) == 0
    assert [job["status"] for job in jobs(sweep)] == ["done", "done"]
    best = [summary_of(sweep / name)["best"] for name in ("0", "1")]
    assert best[0]["arch"] == best[1]["arch"] == summary_of(searched)["best"]["arch"]
    assert best[0]["test_loss"] != best[1]["test_loss"]


@pytest.mark.parametrize(
    "what, settings, told",
    [
        ("fc16.tanh.none_nonsense", SETTINGS, "'nonsense'"),
        ("outputs/nothing-here", SETTINGS, "outputs/nothing-here"),
        (ARCH, ["device=cpu"], ARCH.split("_")[0]),  # the default space is another one
        (ARCH, [*SETTINGS, "optimizer.lr=0"], "optimizer.lr"),
        (ARCH, [*SETTINGS, "strategy=evolution"], "strategy: a training searches nothing"),
        (f"{ARCH} @ evaluator=zero_cost", SETTINGS, "got 'evaluator=zero_cost' as a setting"),
        (f"{ARCH} @ optimizer.lr=0.01,task.way=3", SETTINGS, "got 'task.way=3' as a setting"),
        (f"{ARCH} @ ", SETTINGS, "got '' as a setting"),
    ],
)
@pytest.mark.parametrize("sweep", [False, True])
def test_what_is_wrong_is_told_in_one_line_before_a_directory_is_made(
    what: str, settings: list[str], told: str, sweep: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [f"hydra.sweep.dir={tmp_path / 'run'}", "seed=0,1", "-m"]
    arguments = place if sweep else [f"hydra.run.dir={tmp_path / 'run'}"]
    assert main(["train", what, *settings, *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not (tmp_path / "run").exists()


def test_why_there_is_no_checkpoint(
    searched: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    interrupted, empty = tmp_path / "interrupted", tmp_path / "empty"
    shutil.copytree(searched, interrupted)
    (interrupted / "best.pt").unlink()
    sweep = tmp_path / "sweep"
    empty.mkdir()
    sweep.mkdir()
    (sweep / MANIFEST).write_text("{}")
    said = {interrupted: "resume the run with: nasmeta resume", empty: "name a checkpoint", sweep: "a sweep"}
    for folder, what in said.items():
        assert main(["evaluate", str(folder)]) == 2
        line = capfd.readouterr().err
        assert what in line
        assert str(folder) in line


@pytest.mark.parametrize("name", ["best.pt", "summary.json", "test.pt", "learning.csv", "checkpoints"])
def test_nothing_is_written_over(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("mine")
    assert main(["train", ARCH, *SETTINGS, f"hydra.run.dir={tmp_path}"]) == 2
    assert f"holds {name}, which a run would write over" in capfd.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_help_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    assert "WHAT" in capsys.readouterr().out


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["dataset=omniglot", "dataset.root=/data/a b=c", "meta_learner=fomaml", "optimizer=adamw"],
        ["dataset=image_folder", "dataset.root=/images", "augment=photo", "augment.flip=0.25"],
        ["search_space=conv_small", "executor=process", "executor.workers=3", "budget.max_seconds=7.5"],
        ["search_space=darts", "meta_learner=anil", "constraints.max_params=100000", "precision=bf16"],
        ["tune={optimizer.lr: {low: 0.001, high: 0.1, log: true}, optimizer.schedule: [constant, linear]}"],
    ],
)
def test_a_stored_configuration_comes_back_from_its_overrides(overrides: list[str]) -> None:
    config = parse(composed(overrides), trusted=True)
    again = parse(composed(as_overrides(config)), trusted=True)
    assert again.keys == config.keys
    for group, values in config.groups.items():
        assert group in MADE_ANEW or again.groups[group] == values


def test_what_a_stored_configuration_may_not_choose_does_not_become_the_users(tmp_path: Path) -> None:
    """A cache folder that is none would be made for a checkpoint that somebody else has sent."""
    folder = tmp_path / "victim"
    values = parse(composed(["dataset=omniglot"]), trusted=True).to_dict()
    values["dataset"] = {**values["dataset"], "cache": str(folder), "root": str(tmp_path), "download": False}
    config = parse(values, trusted=False)
    overrides = as_overrides(config)
    assert "dataset=omniglot" in overrides
    assert not any(str(folder) in override for override in overrides)


def test_a_run_can_be_given_away(searched: Path, tmp_path: Path) -> None:
    """A checkpoint alone is enough, wherever it lies."""
    copy = tmp_path / "copy.pt"
    shutil.copy(searched / "best.pt", copy)
    assert main(["train", str(copy), "budget.final_iterations=1", f"hydra.run.dir={tmp_path / 'run'}"]) == 0


def test_an_architecture_brings_the_settings_that_are_tuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = ["tune={optimizer.lr: [0.001, 0.01]}", "budget.reference_trials=2"]
    command = [*SETTINGS, *tune, f"hydra.run.dir={tmp_path / 'run'}"]
    assert main(["train", ARCH, *command]) == 2
    err = capsys.readouterr().err
    assert f"'{ARCH}'" in err
    assert "ARCH @ optimizer.lr=0.001" in err
    assert not (tmp_path / "run").exists()
    assert main(["train", f"{ARCH} @ optimizer.lr=0.01", *command]) == 0
    assert summary_of(tmp_path / "run")["best"]["arch"] == f"{ARCH} @ optimizer.lr=0.01"
