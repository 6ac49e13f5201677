"""The commands, their files and their output, on runs that take a second."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nasmeta.cli.main import main
from nasmeta.config.schema import OPTION_GROUPS
from tests.cli.runs import TINY, search

IMAGES = [
    "device=cpu",
    "logger=none",
    "progress=false",
    "task.meta_batch=2",
    "task.query=3",
    "task.way=3",
    "budget.trials=2",
    "budget.search_iterations=2",
    "budget.final_candidates=1",
    "budget.final_iterations=2",
    "budget.valid_tasks=4",
    "budget.final_tasks=4",
    "budget.test_tasks=4",
    "dataset.train_classes=8",
    "dataset.valid_classes=5",
    "dataset.test_classes=5",
    "dataset.size=16",
    "dataset.examples=8",
    "search_space.widths=[8]",
    "search_space.max_blocks=3",
    "search_space.max_downsamples=3",
]


def images(directory: Path, *overrides: str) -> list[str]:
    return ["search", *IMAGES, f"hydra.run.dir={directory}", *overrides]


def test_a_run_leaves_what_the_design_promises(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "run"
    assert main(images(directory, "logger=tensorboard")) == 0
    out, _ = capfd.readouterr()
    for name in (
        "journal.jsonl",
        "best.pt",
        "summary.json",
        "tensorboard",
        "run.lock",
        "config.json",
        ".hydra/config.yaml",
    ):
        assert (directory / name).exists(), name
    assert list((directory / "tensorboard").glob("*/events*"))
    assert not list((directory / "checkpoints").glob("search-*")), "progress of ended trials is removed"

    summary = json.loads((directory / "summary.json").read_text())
    assert {
        "format", "command", "seed", "device", "versions", "trials", "failed_trials", "wall_seconds",
        "best", "reference",
    } <= summary.keys()  # fmt: skip
    for entry in (summary["best"], summary["reference"]):
        assert {
            "arch", "valid_accuracy", "test_accuracy", "test_ci95", "test_tasks", "params", "flops",
            "train_seconds", "batch_norm",
        } <= entry.keys()  # fmt: skip
        assert 0 <= entry["test_accuracy"] <= 1
        assert entry["test_tasks"] == 4
        assert entry["batch_norm"] == "support"
    assert summary["trials"] == 2
    assert summary["command"].startswith("nasmeta search device=cpu logger=none")

    best = torch.load(directory / "best.pt", weights_only=True)
    assert {"format", "arch", "task", "config", "parameters", "statistics", "metrics"} <= best.keys()
    assert best["metrics"]["test_accuracy"] == summary["best"]["test_accuracy"]
    for promised in (
        "reference",
        "support",
        str(directory),
        "nasmeta evaluate",
        "nasmeta resume",
    ):
        assert promised in out, promised
    assert "tensorboard --logdir" in out


@pytest.mark.parametrize("policy", ["support", "transductive", "running"])
@pytest.mark.parametrize("learner", ["maml", "reptile", "protonet", "finetune"])
def test_evaluate_reproduces_the_summary_exactly(
    learner: str, policy: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    fast = ["meta_learner.test_steps=2"] if learner != "protonet" else []
    assert main(images(directory, f"meta_learner={learner}", f"batch_norm={policy}", *fast)) == 0
    capfd.readouterr()
    assert main(["evaluate", str(directory / "best.pt"), "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    best = json.loads((directory / "summary.json").read_text())["best"]
    assert result["accuracy"] == best["test_accuracy"]
    assert result["ci95"] == best["test_ci95"]
    assert (result["tasks"], result["way"], result["shot"], result["batch_norm"]) == (4, 3, 1, policy)


def test_evaluate_takes_overrides(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(images(tmp_path / "run")) == 0
    capfd.readouterr()
    path = str(tmp_path / "run")
    assert main(["evaluate", path, "task.way=4", "budget.test_tasks=9", "task.shot=5", "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert (result["way"], result["tasks"], result["shot"]) == (4, 9, 5)
    assert main(["evaluate", path, "task.way=4", "--json", "budget.test_tasks=9", "task.shot=5"]) == 0
    assert json.loads(capfd.readouterr().out) == result, "overrides may stand behind options"
    assert main(["evaluate", path, "batch_norm=transductive"]) == 0
    assert "transductive" in capfd.readouterr().out
    assert main(["evaluate", path, "task.wya=4"]) == 2
    assert "task.wya: no such key" in capfd.readouterr().err
    assert main(["evaluate", path, "task.way=40"]) == 2
    assert "task.way: 40 " in capfd.readouterr().err


def test_maml_says_that_its_head_fixes_the_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(images(tmp_path / "run", "meta_learner=fomaml")) == 0
    assert main(["evaluate", str(tmp_path / "run"), "task.way=4"]) == 2
    assert "task.way: the head was meta-learned for 3 outputs" in capfd.readouterr().err


def test_regression_reports_errors_and_no_accuracies(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert search(tmp_path / "run") == 0
    assert "MSE" in capfd.readouterr().out
    best = json.loads((tmp_path / "run" / "summary.json").read_text())["best"]
    assert best["test_accuracy"] is None
    assert best["test_loss"] > 0


def test_no_run_is_written_over_another(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path / "run") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert search(tmp_path / "run", "seed=3") == 2
    said = capfd.readouterr().err
    assert f"{tmp_path / 'run'}: " in said
    assert f"nasmeta resume {tmp_path / 'run'}" in said
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_runs_of_one_second_get_a_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nasmeta.cli.output import make_new

    names = {make_new(tmp_path / "day" / "10-00-00").name for _ in range(3)}
    assert names == {"10-00-00", "10-00-00-1", "10-00-00-2"}


def test_a_sweep_gives_every_job_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = [f"hydra.sweep.dir={tmp_path / 'sweep'}", "-m", "seed=0,1"]
    assert main(["search", *TINY, *sweep]) == 0
    seeds = [
        json.loads((tmp_path / "sweep" / job / "summary.json").read_text())["seed"] for job in ("0", "1")
    ]
    assert seeds == [0, 1]
    assert capfd.readouterr().out.count("nasmeta evaluate") >= 2
    assert main(["search", *TINY, *sweep]) == 2
    assert f"{tmp_path / 'sweep'}: " in capfd.readouterr().err


def test_a_hostile_checkpoint_runs_no_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from nasmeta.training import checkpoint

    assert search(tmp_path / "run") == 0
    best = checkpoint.load(tmp_path / "run" / "best.pt")
    for target in (
        "os.system",
        "nasmeta.run.directory.os.system",
        "nasmeta.training.checkpoint.os.mkdir",
        "builtins.eval",
    ):
        best["config"]["search_space"] = {"_target_": target}
        checkpoint.save(tmp_path / "best.pt", best)
        assert main(["evaluate", str(tmp_path / "best.pt")]) == 2
        err = capfd.readouterr().err
        assert "search_space._target_" in err
    best["config"]["seed"] = "${oc.env:HOME}"
    checkpoint.save(tmp_path / "best.pt", best)
    assert main(["evaluate", str(tmp_path / "best.pt")]) == 2


def test_list_names_every_option(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    everything = capfd.readouterr().out
    for group in OPTION_GROUPS:
        assert main(["list", group]) == 0
        lines = capfd.readouterr().out.splitlines()
        assert lines
        for line in lines:
            name, _, description = line.strip().partition(" ")
            assert description.strip(), f"{group}/{name} has no description"
            assert name in everything


def test_user_options_come_from_a_directory_of_theirs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "strategy").mkdir(parents=True)
    (tmp_path / "conf" / "strategy" / "mine.yaml").write_text(
        "# my own\n_target_: nasmeta.strategies.random.RandomSearch\n"
    )
    conf = str(tmp_path / "conf")
    assert main(["list", "strategy", "--config-dir", conf]) == 0
    assert "my own" in capfd.readouterr().out
    assert search(tmp_path / "run", "--config-dir", conf, "strategy=mine", "~strategy.population_size") == 2
    overrides = [o for o in TINY if not o.startswith("strategy.")]
    arguments = ["search", *overrides, f"hydra.run.dir={tmp_path / 'run2'}", "--config-dir", conf]
    assert main([*arguments, "strategy=mine"]) == 0


@pytest.mark.parametrize("command", [["list"], ["search", "--cfg", "job"], ["train", "--help"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_error(command: list[str]) -> None:
    """As `| head` does."""
    reads, writes = os.pipe()
    os.close(reads)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    words = [sys.executable, "-m", "nasmeta", *command]
    try:
        ended = subprocess.run(words, stdout=writes, stderr=subprocess.PIPE, env=buffered)
    finally:
        os.close(writes)
    assert ended.stderr == b""
    assert ended.returncode == 1
