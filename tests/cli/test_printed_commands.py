"""What is printed to be typed runs as it is printed: in folders with odd names, with options of one's own."""

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.reporting.read.load import load_run
from nasmeta.runtime import signals
from nasmeta.strategies.random import RandomSearch
from tests.cli.kills import outcome
from tests.cli.runs import SHORT, TINY, jobs


class Mine(RandomSearch):
    """A strategy of somebody's own, outside nasmeta."""


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """A search with that strategy, chosen by an option in a folder with an odd name."""
    folder = tmp_path / "my 'conf'=1" / "strategy"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(f"# my own\n_target_: {__name__}.Mine\n")
    overrides = [override for override in TINY if not override.startswith("strategy.")]
    return ["search", "--config-dir", str(folder.parent), *overrides, "strategy=mine", "budget.trials=2"]


def printed(text: str) -> list[list[str]]:
    """The arguments of the lines that are commands of nasmeta."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  nasmeta ")]
    return [shlex.split(line)[1:] for line in lines]


def test_the_commands_below_a_table(
    own: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "a run"
    assert main([*own, f"hydra.run.dir={run}"]) == 0
    commands = printed(capfd.readouterr().out)
    assert [command[0] for command in commands] == ["report", "evaluate", "resume"]
    for command in commands:
        assert main(command) == 0, command
    again = load_run(run).command
    assert again is not None
    assert main([*shlex.split(str(again))[1:], f"hydra.run.dir={tmp_path / 'again'}"]) == 0
    assert outcome(tmp_path / "again")["summary"] == outcome(run)["summary"]


@contextmanager
def interrupted_at_once() -> Iterator[Callable[[], bool]]:
    yield lambda: True


@pytest.mark.parametrize("sweep", [False, True], ids=["run", "sweep"])
def test_the_hint_of_an_interrupted_run(
    own: list[str],
    tmp_path: Path,
    sweep: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    directory = tmp_path / "a run"
    where = ["-m", "seed=0,1", f"hydra.sweep.dir={directory}"] if sweep else [f"hydra.run.dir={directory}"]
    with monkeypatch.context() as patch:
        patch.setattr(signals, "interruptible", interrupted_at_once)
        assert main([*own, *where]) == 130
    hint = capfd.readouterr().err.strip().rpartition("the sweep: " if sweep else "resume with: ")[2]
    assert main(shlex.split(hint)[1:]) == 0
    for run in [directory / "0", directory / "1"] if sweep else [directory]:
        assert (run / "summary.json").exists()


@pytest.fixture
def half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of which no job has ended."""
    directory = tmp_path / "a sweep"
    with monkeypatch.context() as patch:
        patch.setattr(signals, "interruptible", interrupted_at_once)
        assert main(["search", *SHORT, "-m", "seed=0,1", f"hydra.sweep.dir={directory}"]) == 130
    return directory


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "forced"])
@pytest.mark.parametrize("override", ["task.shot=4,5", "budget.trials=9", "experiment=rea"])
def test_a_sweep_refuses_what_would_make_its_jobs_others(
    half_done: Path, override: str, force: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    before = (half_done / "sweep.json").read_bytes()
    assert main(["resume", str(half_done), override, *force]) == 2
    assert override in capfd.readouterr().err
    assert (half_done / "sweep.json").read_bytes() == before


def test_a_sweep_takes_what_results_do_not_depend_on_while_jobs_are_left(
    half_done: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", str(half_done), "save_seconds=7"]) == 0
    for job in jobs(half_done):
        config = json.loads((half_done / job["directory"] / "config.json").read_text())
        assert config["save_seconds"] == 7
    assert main(["resume", str(half_done), "save_seconds=8"]) == 2
    assert "save_seconds=8" in capfd.readouterr().err
