"""nasmeta from Python: `import nasmeta`, `nasmeta.search` and `nasmeta.load`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nasmeta
from nasmeta.errors import ConfigError, Interrupted, RunDirectoryError, UserError
from nasmeta.meta_learners.maml import Maml
from nasmeta.run.journal import read
from tests.cli.runs import SHORT, TINY
from tests.reporting.stored_runs import summary_of


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = (
        "import sys, nasmeta\n"
        "assert {'search', 'load', 'FewShotClassifier'} <= set(dir(nasmeta))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "hydra", "numpy", "matplotlib", "pydantic"} & set(done.stdout.split())
    with pytest.raises(AttributeError, match="serch"):
        nasmeta.serch  # noqa: B018


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> nasmeta.Run:
    return nasmeta.search(SHORT, directory=tmp_path_factory.mktemp("api") / "run")


def test_a_search_is_that_of_the_command_line(run: nasmeta.Run, tmp_path: Path) -> None:
    from nasmeta.cli.main import main

    assert main(["search", *SHORT, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    by_command, by_call = summary_of(tmp_path / "run"), summary_of(run.path)
    for side in ("best", "reference"):
        for name in ("arch", "test_loss", "valid_loss", "params"):
            assert by_call[side][name] == by_command[side][name]


def test_a_run_tells_what_it_found(run: nasmeta.Run) -> None:
    summary = summary_of(run.path)
    assert run.status == "done"
    assert run.summary == summary
    assert run.best == summary["best"]
    assert run.config["budget"]["trials"] == 2
    assert summary["best"]["arch"] in repr(run)
    assert {"trials", "time", "params", "flops", "memory", "architecture"} == set(run.figures)
    assert run.figures["trials"]._repr_png_().startswith(b"\x89PNG")


def test_a_search_that_is_done_is_not_done_again(run: nasmeta.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run.path / "journal.jsonl").read_bytes()
    for overrides in (SHORT, []):
        assert nasmeta.search(overrides, directory=run.path).best == run.best
    assert (run.path / "journal.jsonl").read_bytes() == before
    with pytest.raises(RunDirectoryError, match="shot changed"):
        nasmeta.search([*SHORT, "task.shot=3"], directory=run.path)


def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    nasmeta.search(SHORT, directory=tmp_path / "run")
    more = nasmeta.search([*SHORT, "budget.trials=3"], directory=tmp_path / "run")
    assert more.summary is not None
    assert more.summary["trials"] == 3


@pytest.mark.parametrize("again", [TINY, []], ids=["with its overrides", "with none"])
def test_an_interrupted_search_goes_on(
    again: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the interruption of a notebook's kernel does."""
    whole = nasmeta.search(TINY, directory=tmp_path / "whole")
    steps, original = 0, Maml.meta_gradient

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **options)

    monkeypatch.setattr(Maml, "meta_gradient", counted)
    with pytest.raises(Interrupted, match=str(tmp_path / "run")):
        nasmeta.search(TINY, directory=tmp_path / "run")
    part = nasmeta.load(tmp_path / "run")
    assert isinstance(part, nasmeta.Run)
    assert part.status == "unfinished"
    assert part.best is not None
    assert "2 of 4 have ended" in repr(part)
    resumed = nasmeta.search(again, directory=tmp_path / "run")
    assert resumed.best is not None
    assert whole.best is not None
    for name in ("arch", "test_loss", "valid_loss"):
        assert resumed.best[name] == whole.best[name]
    assert [event["event"] for event in read(tmp_path / "run" / "journal.jsonl")[0]].count("resumed") == 1


def test_a_new_run_has_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [nasmeta.search(SHORT).path for _ in range(2)]
    assert len(set(paths)) == 2
    assert {path.parts[0] for path in paths} == {"outputs"}


@pytest.mark.parametrize("wrong", ["task.shot=many", "no.such.key=1", "seed=0,1"])
def test_what_is_wrong_leaves_nothing(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=wrong.partition("=")[0]) as raised:
        nasmeta.search([*SHORT, wrong])
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_runs(run: nasmeta.Run, tmp_path: Path) -> None:
    nasmeta.search([*SHORT, "seed=1"], directory=run.path.parent / "other")
    runs = nasmeta.load(run.path.parent)
    assert isinstance(runs, nasmeta.Sweep)
    losses = {each.path: summary_of(each.path)["best"]["valid_loss"] for each in runs.runs}
    assert runs.best is not None
    assert losses[runs.best.path] == min(losses.values())
    assert "mean of 2 seeds" in repr(runs)
    assert set(runs.figures) == {"test", "search"}
    with pytest.raises(RunDirectoryError, match="gone"):
        nasmeta.load(tmp_path / "gone")


def test_without_pandas_a_line_says_what_to_install(
    run: nasmeta.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasmeta.api.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nasmeta\[pandas\]'"):
        run.to_frame()


@pytest.mark.extra("pandas")
def test_frames_have_what_the_files_say(run: nasmeta.Run) -> None:
    frame = run.to_frame()
    summary = summary_of(run.path)
    assert frame.phase.tolist() == ["search", "search", "final", "reference"]
    final = frame[frame.phase == "final"].iloc[0]
    assert {"arch", "latency_ms", "elapsed", "valid_loss"} <= set(frame.columns)
    assert final.valid_loss in [each["valid_loss"] for each in summary["finalists"]]
    runs = nasmeta.load(run.path.parent)
    rows = runs.to_frame()
    assert (
        rows[rows.directory == str(run.path)].iloc[0].test_loss
        == json.loads((run.path / "summary.json").read_text())["best"]["test_loss"]
    )
