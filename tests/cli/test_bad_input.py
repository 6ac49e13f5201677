"""Wrong input stops before anything expensive starts: exit code 2, and one line that says what is right."""

from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.run import composition

CASES = {
    # keys
    "task.wya=5": r"task\.wya: no such key; did you mean 'task\.way'\?",
    "+task.wya=5": r"task\.wya: no such key; did you mean 'way'\?",
    "+trials=5": r"trials: no such key",
    "sed=1": r"sed: no such key; did you mean 'seed'\?",
    "strategy.populaton_size=3": r"no such key; did you mean 'strategy\.population_size'\?",
    "+optimizer.lrr=3": r"optimizer\.lrr: no such key; did you mean 'lr'\?",
    "evaluator=supernet evaluator.finetune=3": r"did you mean 'evaluator\.finetune_iterations'\?",
    "dataset.root=x": r"dataset\.root: the chosen option has no such key; .*: dataset=image_folder, dataset=",
    "strategy.sampel_size=3": r"strategy\.sampel_size: no such key; did you mean 'strategy\.sample_size'\?",
    "~budget.trials": r"budget\.trials: missing",
    "hydra.launcher.n_jobs=2": r"hydra\.launcher\.n_jobs: .*: hydra/launcher=joblib, hydra/launcher=submitit",
    # options
    "meta_learner=mamll": r"meta_learner=mamll: no such option; did you mean 'maml'\?",
    "hydra/launcher=slurm": r"hydra/launcher=slurm: no such option; valid: .*, submitit_slurm",
    "meta_lerner=maml": r"meta_lerner: no such key; did you mean 'meta_learner'\?",
    "experiment=nothing": r"experiment=nothing: no such option",
    "strategy=null": r"every group needs an option",
    "strategy._target_=nasmeta.strategies.evolution.Evolution": r"strategy\._target_: .*Evolution' cannot",
    "strategy._target_=os.system": r"strategy\._target_: 'os\.system' is not a subclass of .*Strategy",
    # types
    "task.way=five": r"task\.way: got 'five', should be a valid integer",
    "task.way=2.5": r"task\.way: got 2\.5, should be a valid integer",
    "task=5": r"task: got 5, has keys of its own: task\.way, task\.shot, ",
    "history=outputs/run": r"history: got 'outputs/run', should be a list: history=\[outputs/run\]$",
    "seed=null": r"seed: got None, should be a valid integer",
    "strategy=recursive strategy.inner=rea": r"'rea', choose one: strategy@strategy\.inner=",
    "logger=tensorbord": r"logger=tensorbord: no such option; did you mean 'tensorboard'",
    "logger.mlflow=7": r"logger\.mlflow",
    "logger.tensorboard._target_=os.system": r"logger\.tensorboard\._target_: 'os\.system' is not a subclass",
    "hydra.run.dir=/dev/null/run": r"/dev/null: is not a directory",
    "hydra.job.num=x": r"hydra\.job\.num: .*'x'.* Integer",
    # values
    "seed=-1": r"seed: got -1, should be greater than or equal to 0",
    "optimizer.lr=-0.1": r"optimizer\.lr: got -0\.1, should be greater than 0",
    "budget.search_iterations=0": r"budget\.search_iterations: got 0, should be greater than or equal to 1",
    "budget.max_seconds=0": r"budget\.max_seconds: got 0, should be greater than 0",
    "constraints.max_params=-4": r"constraints\.max_params: got -4",
    "kernels=tritn": r"kernels: got 'tritn', should be 'auto', 'torch' or 'triton'",
    "precision=fp23": r"precision: got 'fp23', should be 'auto', 'fp32', 'tf32' or 'bf16'",
    "batch_norm=suport": r"batch_norm: got 'suport', should be 'support'",
    "device=cuda:7": r"device: 'cuda:7' is not on this machine",
    "device=gpu": r"device: 'gpu' is not a device",
    "meta_learner.distance=manhattan": r"meta_learner\.distance: got 'manhattan', should be 'euclidean'",
    "task.way=1": r"task\.way=1: ",
    "task.way=3000": r"task\.way: 3000 classes a task, but the train split has \d+",
    "meta_learner.train_way=900": r"meta_learner\.train_way: 900 classes a task, but the train split has \d+",
    "task.shot=20": r"task\.shot: 20 images of a class and one query, .* type task\.shot=19",
    "strategy.sample_size=99": r"strategy\.sample_size: 99 members",
    "dataset=omniglot dataset.root=/nowhere dataset.download=false": r"/nowhere",
    "dataset=image_folder": r"dataset\.root: has no value and needs one: add dataset\.root=VALUE",
    "dataset=image_folder dataset.root=/nowhere": r"/nowhere",
    "dataset=image_folder dataset.root=": r"dataset\.root: got '', should be a folder; \. is the current one",
    "constraints.operations=[conv3,conv33]": r"constraints\.operations: 'conv33' is no .*mean 'conv3'",
    "dataset=image_folder dataset.root=/etc/hostname": r"/etc/hostname: is a file .*unpack it",
    # combinations
    "dataset=sinusoid search_space=mlp": r"ProtoNet cannot do regression: .*use meta_learner=maml",
    "dataset=sinusoid meta_learner=maml": r"search_space=mlp",
    # syntax
    "task.way=[1": r"task\.way: got '\[1'",
    "trials": r"trials: not an override; write KEY=VALUE or GROUP=OPTION",
    "meta_learner=maml,protonet": r"meta_learner=maml,protonet: several values; add -m \(--multirun\)",
    "task.way=5,10": r"task\.way=5,10: several values; add -m .*: task\.way=\[5,10\]$",
    "-m seed=0,1,": r"seed=.*: Hydra cannot parse the value; write .* KEY=A,B",
    "=5": r"every group needs an option",
}


@pytest.mark.parametrize("overrides", CASES, ids=str)
def test_one_line_and_exit_code_2(
    overrides: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(composition.Composition, "sampler", _expensive)
    assert main(["search", *overrides.split()]) == 2
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("nasmeta: ")
    import re

    assert re.search(CASES[overrides], lines[0]), lines[0]
    assert not out
    assert not list(tmp_path.iterdir()), "no directory is left behind"


def _expensive(self: object, split: str) -> None:
    raise AssertionError("data was loaded before the input was checked")


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "task.way=five", "--debug"]) == 2
    assert "Traceback" in capfd.readouterr().err


def test_several_mistakes_are_told_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "task.way=five", "budget.trials=0"]) == 2
    err = capfd.readouterr().err
    assert "task.way" in err
    assert "budget.trials" in err


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_missing_directory_is_named(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'none'}: no such" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["resume", "show", "train"])
def test_a_file_that_is_no_run_is_named(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "journal.jsonl"
    file.touch()
    named = tmp_path / "none.pt" if command == "train" else file
    assert main([command, str(named)]) == 2
    assert f"{named}: no such run" in capfd.readouterr().err


def test_a_directory_without_a_run_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(tmp_path)]) == 2
    assert "config.json" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unknown_group_to_list(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets"]) == 2
    assert "did you mean 'dataset'?" in capfd.readouterr().err


def test_no_command_prints_the_usage(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main([])
    assert exit.value.code == 2
    assert "usage: nasmeta" in capfd.readouterr().err
