"""Sweeps by Optuna: killed and resumed, the study ends as if never interrupted, no trial counted twice."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nasmeta.cli.main import main
from nasmeta.errors import RunDirectoryError, UserError
from nasmeta.run.manifest import MANIFEST, Plan
from nasmeta.run.replay import replayed
from tests.cli.kills import outcome, spawn
from tests.cli.runs import SHORT, jobs
from tests.conftest import has_extra

needs_optuna = pytest.mark.extra("optuna")

STUDY = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "optimizer.lr=interval(0.001,0.01)"]


def sweep(directory: Path, *overrides: str) -> list[str]:
    return ["search", *SHORT, f"hydra.sweep.dir={directory}", *STUDY, *overrides]


def change(directory: Path, number: int, **values: Any) -> None:
    plan = json.loads((directory / MANIFEST).read_text())
    plan["jobs"][number].update(values)
    (directory / MANIFEST).write_text(json.dumps(plan))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "sweep"
    assert spawn(sweep(directory)) == 0
    return directory


@needs_optuna
def test_the_study_maximizes_the_validation_score(unbroken: Path) -> None:
    results = [job["result"] for job in jobs(unbroken)]
    for number, result in enumerate(results):
        summary = json.loads((unbroken / str(number) / "summary.json").read_text())
        assert result == -summary["best"]["valid_loss"]
    kept = (unbroken / "optimization_results.yaml").read_text()
    assert f"best_value: {max(results)}" in kept


@needs_optuna
@pytest.mark.parametrize("kill_at,torn", [(2, False), (40, True), (75, False)])
def test_killed_and_resumed(unbroken: Path, tmp_path: Path, kill_at: int, torn: bool) -> None:
    directory = tmp_path / "sweep"
    assert spawn(sweep(directory), kill_at, torn) == -signal.SIGKILL
    done = {
        job["number"]: (directory / job["directory"] / "best.pt").stat().st_mtime_ns
        for job in jobs(directory)
        if job["status"] == "done"
    }
    assert spawn(["resume", str(directory)]) == 0
    assert jobs(directory) == jobs(unbroken)
    for number in range(4):
        assert outcome(directory / str(number)) == outcome(unbroken / str(number))
    for number, moment in done.items():
        assert (directory / str(number) / "best.pt").stat().st_mtime_ns == moment, "run again"
    results = "optimization_results.yaml"
    assert (directory / results).read_bytes() == (unbroken / results).read_bytes()


@needs_optuna
def test_a_failed_trial_stops_no_other_and_stays_failed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep"
    assert main([*sweep(directory)[:-1], "optimizer.lr=choice(1e30,0.005)"]) == 1
    capfd.readouterr()
    before = jobs(directory)
    assert {job["status"] for job in before} == {"failed", "done"}
    assert main(["resume", str(directory)]) == 1
    assert jobs(directory) == before
    assert "of the sweep's jobs failed" in capfd.readouterr().err


@needs_optuna
def test_where_every_trial_fails_it_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*sweep(tmp_path / "sweep")[:-1], "optimizer.lr=choice(1e30,1e31)"]) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("nasmeta: 4 of the sweep's jobs failed: job 0 (")


@needs_optuna
def test_another_proposal_than_the_recorded_one_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "sweep"
    assert spawn(sweep(directory, "hydra.sweeper.n_trials=1")) == 0
    change(directory, 0, overrides=["optimizer.lr=0.5"])
    assert main(["resume", str(directory)]) == 2
    assert "job 0 was optimizer.lr=0.5, and its sweeper now proposes" in capfd.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_extra("optuna"):
        pytest.skip("it is installed")
    assert main(sweep(tmp_path / "sweep")) == 2
    assert "pip install 'nasmeta[optuna]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    "argument",
    [
        "hydra.sweeper._target_=os.system",
        "hydra.sweeper.custom_search_space=os.system",
        "hydra.sweeper.sampler._target_=os.system",
        "hydra.sweeper.sampler.seed={_target_:os.system}",
        "+hydra.callbacks.evil={_target_:os.system}",
        "hydra.searchpath=[file:///tmp]",
        "hydra/job_logging=evil",
        "hydra/launcher=evil",
        "+strategy@hydra.callbacks.evil=random",
        "+strategy=../../tmp/evil",
        "--config-dir=/tmp",
        "-cd",
        "strategy._target_=os.system",
        " hydra.searchpath=[file:///tmp]",
        "strategy@strategy.inner=../../tmp/evil",
        "hydra.sweeper.params.hydra.job_logging.handlers.evil=x",
        "hydra.sweeper.params.strategy='choice(../../tmp/evil,random)'",
        "experiment/../hydra=evil",
        "debug=.${oc.env:NOPE,.}/../../tmp/evil",
        "debug=\\${oc.env:NOPE}",
        "debug='../../tmp/evil'",
        "experiment=[rea,evil]",
        "experiment=glob(*)",
        "strategy=/tmp/evil",
        "+strategy@hydra.job=random",
        "strategy@_global_=random",
        "hydra.job.env_set={LD_PRELOAD:/tmp/evil.so}",
        "hydra.job.env_set.PYTHONPATH=/tmp",
        "+hydra.callbacks.evil._target_=os.system",
        "hydra.job.chdir=true",
        "hydra.launcher.n_jobs=2",
        "hydra/launcher=joblib",
        "hydra/sweeper=../../tmp/evil",
        "hydra/sweeper/sampler=evil",
        "hydra.sweep.subdir=/tmp/elsewhere",
        "hydra.sweep.subdir=../elsewhere",
        "hydra.sweep.subdir=${hydra.job.override_dirname}",
        "hydra.sweep.subdir=${oc.env:HOME}",
        "hydra.run.dir=/tmp/elsewhere",
        "hydra.output_subdir=../elsewhere",
        "hydra.sweeper.params={seed:1}",
        "hydra.sweeper.params.hydra.job.env_set.A=1",
        "hydra.sweeper.params.strategy._target_=os.system",
        "hydra.sweeper.params.seed='${oc.env:HOME}'",
        "hydra.sweeper.sampler._args_=[1]",
        "hydra.sweeper.sampler.weights={_target_:os.system}",
        "strategy.inner={_target_:os.system}",
        "strategy.inner=[{a:{_target_:os.system}}]",
        "seed=${oc.env:HOME}",
        "seed=choice(1,'${oc.env:HOME}')",
        "dataset.root={a:'${oc.env:HOME}'}",
        "optimizer.lr=" + "[" * 3000,
        "a b=c",
        "",
    ],
)
def test_a_hostile_command_is_not_played_again(tmp_path: Path, argument: str) -> None:
    plan = Plan(sweeper="optuna", total=None, arguments=["-m", argument], jobs=[])
    with pytest.raises(RunDirectoryError, match=r"cannot be replayed: .*--trust-code"):
        replayed(plan, tmp_path, trusted=False)
    assert argument in replayed(plan, tmp_path, trusted=True)


def test_arguments_without_end_are_not_played_again(tmp_path: Path) -> None:
    plan = Plan(sweeper="optuna", total=None, arguments=["-m", *["seed=1"] * 100_000], jobs=[])
    with pytest.raises(RunDirectoryError, match="arguments: has more than 10000 characters"):
        replayed(plan, tmp_path, trusted=False)


def test_a_plain_command_is_played_again_in_its_directory(tmp_path: Path) -> None:
    plain = [
        *STUDY,
        "dataset.root=../data",
        "hydra.sweeper.sampler.seed=3",
        "~experiment",
        "++experiment=rea",
        "strategy@strategy.inner=random",
        "hydra.sweeper.params.seed='choice(1,2)'",
        "search_space.widths=[8,16]",
        "experiment=rea,bananas",
        "dataset.root='/my pictures'",
        "constraints.max_params=null",
        "hydra.sweeper.sampler.n_startup_trials=3",
        "hydra.sweeper.storage=null",
        "hydra/sweeper/sampler=random",
        "hydra.sweep.subdir='job ${hydra.job.num}'",
    ]
    plan = Plan(sweeper="optuna", total=None, arguments=[*plain, "hydra.sweep.dir=elsewhere"], jobs=[])
    quiet = "hydra.output_subdir=null"
    assert replayed(plan, tmp_path, trusted=False) == [*plain, f'hydra.sweep.dir="{tmp_path}"', quiet]


@pytest.mark.parametrize("name", ["it's", "a,b", "back\\", "x=[1]", "$HOME", "a b", "{c}", "\\'"])
def test_the_sweeps_directory_is_one_value_whatever_its_name(tmp_path: Path, name: str) -> None:
    plan = Plan(sweeper="optuna", total=None, arguments=["-m"], jobs=[])
    argument = replayed(plan, tmp_path / name, trusted=False)[1]
    (override,) = OverridesParser.create().parse_overrides([argument])
    assert override.value() == str(tmp_path / name)


def test_a_directory_that_hydra_would_resolve_is_refused(tmp_path: Path) -> None:
    plan = Plan(sweeper="optuna", total=None, arguments=["-m"], jobs=[])
    with pytest.raises(RunDirectoryError, match=r"has \$\{ in its name"):
        replayed(plan, tmp_path / "${oc.env:HOME}", trusted=False)


@pytest.mark.parametrize("link", ["3", "optimization_results.yaml", "deep/3"])
def test_a_sweep_with_links_in_it_is_not_played_again(tmp_path: Path, link: str) -> None:
    (tmp_path / "sweep" / "deep").mkdir(parents=True)
    (tmp_path / "sweep" / link).symlink_to(tmp_path)
    arguments = ["-m", "hydra.sweep.subdir=deep/${hydra.job.num}"]
    plan = Plan(sweeper="optuna", total=None, arguments=arguments, jobs=[])
    with pytest.raises(UserError, match=f"{link}: .* is a symbolic link"):
        replayed(plan, tmp_path / "sweep", trusted=False)
