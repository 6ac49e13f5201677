"""Links, pipes and devices in the place of every file that nasmeta reads or writes.

The files are those that a run and a sweep have left, so a new file is tested without being named here. A copy
of the same directory is outside, and links lead to the file of the same name in it. So a command that follows
a link finds what it wants, and a change in the copy gives it away. NASMETA_HOSTILE is how many of the about
1,500 cases are tried.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

import pytest

from nasmeta import seeding
from nasmeta.cli.main import main
from nasmeta.run.directory import RunDirectory
from nasmeta.run.outputs import keep_front
from tests.cli.kills import spawn
from tests.cli.runs import SHORT
from tests.hostile.planted import PLANTS, Case, Plant, hard_link, link, pipe, run_all, snapshot

ATTEMPTS = int(os.environ.get("NASMETA_HOSTILE", "30"))
SECRET = "SECRET-4242"
SEVERAL = [o for o in SHORT if not o.startswith("strategy.")] + [
    "strategy=nsga2",
    "strategy.population_size=2",
]
"""The overrides of a run that leaves a Pareto front."""


class Kind(NamedTuple):
    """A directory, and the commands that are run on it."""

    directory: Path
    commands: list[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Kind:
    """A run with everything that a run can have: a front, TensorBoard's files, and a report."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    assert spawn(["search", *SEVERAL, "logger=tensorboard", f"hydra.run.dir={directory}"]) == 0
    assert spawn(["report", str(directory)]) == 0
    return Kind(directory, ["resume", "report", "evaluate"])


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Kind:
    """A run that was killed during a training, with two generations of its checkpoint."""
    directory = tmp_path_factory.mktemp("interrupted") / "run"
    command = [
        "search",
        *SHORT,
        "save_seconds=0",
        "budget.search_iterations=20",
        f"hydra.run.dir={directory}",
    ]
    assert spawn(command, kill_at=14, torn=True) == -signal.SIGKILL
    assert list(directory.glob("checkpoints/*.previous"))
    return Kind(directory, ["resume", "report"])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Kind:
    """A sweep of two jobs, the second of which was killed."""
    directory = tmp_path_factory.mktemp("swept") / "sweep"
    command = ["search", "-m", *SHORT, "seed=1,2", f"hydra.sweep.dir={directory}"]
    assert spawn(command, kill_at=40) == -signal.SIGKILL
    assert (directory / "1" / "journal.jsonl").exists()
    return Kind(directory, ["resume", "report", "compare"])


def names(directory: Path) -> Iterator[Path]:
    """All files and folders in a directory, and temporary names that used to be predictable."""
    for path in sorted(directory.rglob("*")):
        yield path.relative_to(directory)
        if path.is_file():
            yield path.relative_to(directory).with_name(f".{path.name}.tmp")


def planted(directory: Path, name: Path, plant: Plant, folder: Path) -> tuple[Path, Path]:
    """Copies the directory twice into `folder`. In the first copy, `plant` replaces the file `name`.

    The second copy is outside, and is what links lead to.
    """
    copy, outside = folder / "stranger" / directory.name, folder / "outside"
    for target in (copy, outside):
        shutil.copytree(directory, target, symlinks=True)
    path = copy / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    plant(path, outside / name)
    return copy, outside


@pytest.mark.parametrize("kind", ["finished", "interrupted", "sweep"])
def test_nothing_outside_is_written_and_nothing_waits(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    directory, commands = request.getfixturevalue(kind)
    everything = list(product(names(directory), PLANTS, commands))
    order = seeding.stream(0, "hostile", kind).permutation(len(everything))
    cases = []
    for number in islice(order, ATTEMPTS // 3):
        name, plant, command = everything[number]
        copy, outside = planted(directory, name, plant, tmp_path / str(number))
        described = f"{command} with {plant.__name__} at {name}"
        cases.append(Case(described, [command, str(copy)], tmp_path / str(number) / "out", outside))
    for ended in run_all(cases):
        assert not ended.harm, f"{ended.case.name} changes {ended.harm}: {ended.text}"
        assert ended.code in (0, 1, 2), f"{ended.case.name}: {ended.text}"
        assert "Traceback" not in ended.text, f"{ended.case.name}: {ended.text}"


# What was found, one by one --------------------------------------------------------------------------------

WRITTEN = ["journal.jsonl", "checkpoints", "run.lock", ".hydra", "tensorboard", "pareto"]


@pytest.mark.timeout(60, func_only=True)
@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("plant", [link, pipe], ids=lambda plant: plant.__name__)
def test_resume_refuses_by_name_what_it_would_write_through(
    finished: Kind, tmp_path: Path, name: str, plant: Plant, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, outside = planted(finished.directory, Path(name), plant, tmp_path)
    before = snapshot(outside)
    assert main(["resume", str(copy)]) == 2
    assert f"{copy / name}" in capfd.readouterr().err
    assert snapshot(outside) == before


@pytest.mark.timeout(60, func_only=True)
@pytest.mark.parametrize("name", ["journal.jsonl", "summary.json"])
@pytest.mark.parametrize("plant", [link, pipe], ids=lambda plant: plant.__name__)
def test_a_report_refuses_by_name_what_it_would_read_elsewhere(
    finished: Kind, tmp_path: Path, name: str, plant: Plant, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, _ = planted(finished.directory, Path(name), plant, tmp_path)
    (copy / "report.html").unlink()
    assert main(["report", str(copy)]) == 2
    assert f"{copy / name}" in capfd.readouterr().err
    assert not (copy / "report.html").exists()


@pytest.mark.parametrize("has_journal", [True, False])
@pytest.mark.parametrize("name", ["config.json", ".hydra/overrides.yaml", ".hydra"])
def test_a_linked_configuration_is_in_no_report(
    finished: Kind, tmp_path: Path, name: str, has_journal: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, outside = planted(finished.directory, Path(name), link, tmp_path)
    for path in (outside / "config.json", outside / ".hydra" / "overrides.yaml"):
        path.write_text(path.read_text().replace("sinusoid", SECRET))
        assert SECRET in path.read_text()
    (copy / "report.html").unlink()
    if not has_journal:
        (copy / "journal.jsonl").unlink()
    main(["report", str(copy)])
    page = copy / "report.html"
    assert SECRET not in (page.read_text() if page.exists() else "")
    assert SECRET not in capfd.readouterr().err


def test_a_report_does_not_write_through_its_temporary_file(finished: Kind, tmp_path: Path) -> None:
    copy, outside = planted(finished.directory, Path(".report.html.tmp"), link, tmp_path)
    (outside / ".report.html.tmp").write_text("a file of the user")
    assert main(["report", str(copy)]) == 0
    assert (outside / ".report.html.tmp").read_text() == "a file of the user"


def test_a_page_that_is_a_link_is_not_replaced(
    finished: Kind, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, _ = planted(finished.directory, Path("report.html"), link, tmp_path)
    assert main(["report", str(copy)]) == 2
    assert "--output" in capfd.readouterr().err
    assert main(["report", str(copy), "--output", str(tmp_path / "page.html")]) == 0


@pytest.mark.parametrize("plant", [link, pipe], ids=lambda plant: plant.__name__)
def test_a_control_is_trained_in_the_run_or_not_at_all(
    finished: Kind, tmp_path: Path, plant: Plant, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, outside = planted(finished.directory, Path("control"), plant, tmp_path)
    before = snapshot(outside)
    assert main(["evaluate", str(copy), "--control"]) == 2
    assert f"{copy / 'control'}: " in capfd.readouterr().err
    assert snapshot(outside) == before


def test_a_journal_with_a_second_name_is_not_written(
    interrupted: Kind, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, outside = planted(interrupted.directory, Path("journal.jsonl"), hard_link, tmp_path)
    before = snapshot(outside)
    assert main(["resume", str(copy)]) == 2
    assert f"{copy / 'journal.jsonl'}: " in capfd.readouterr().err
    assert snapshot(outside) == before


def test_a_job_that_leads_elsewhere_is_none_of_the_sweep(
    sweep: Kind, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, outside = planted(sweep.directory, Path("1"), link, tmp_path)
    before = snapshot(outside)
    for command in sweep.commands:
        assert main([command, str(copy)]) == 2
        assert "job 1" in capfd.readouterr().err
    assert snapshot(outside) == before


@pytest.mark.parametrize("name", [".hydra", ".hydra/config.yaml", ".hydra/overrides.yaml", "journal.jsonl"])
@pytest.mark.parametrize("plant", [link, hard_link], ids=lambda plant: plant.__name__)
def test_a_new_run_in_a_folder_that_is_there_writes_through_no_link(
    tmp_path: Path, name: str, plant: Plant, capfd: pytest.CaptureFixture[str]
) -> None:
    directory, outside = tmp_path / "run", tmp_path / "outside"
    (outside / ".hydra").mkdir(parents=True)
    for file in (".hydra/config.yaml", ".hydra/overrides.yaml", "journal.jsonl"):
        (outside / file).write_text("a file of the user")
    (directory / name).parent.mkdir(parents=True)
    plant(directory / name, outside / name)
    if plant is hard_link and name == ".hydra":
        pytest.skip("folders have no second names")
    before = snapshot(outside)
    assert main(["search", *SHORT, f"hydra.run.dir={directory}"]) == 2
    assert str(directory) in capfd.readouterr().err
    assert snapshot(outside) == before


def test_links_that_the_user_made_go_on_working(interrupted: Kind, tmp_path: Path) -> None:
    """A run directory that is a link, and an outputs folder that is one, to another disk for example."""
    shutil.copytree(interrupted.directory, tmp_path / "disk" / "outputs" / "run")
    (tmp_path / "outputs").symlink_to(tmp_path / "disk" / "outputs")
    (tmp_path / "run").symlink_to(tmp_path / "outputs" / "run")
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "outputs" / "run")]) == 0
    (tmp_path / "best.pt").symlink_to(tmp_path / "run" / "best.pt")
    assert main(["evaluate", str(tmp_path / "best.pt")]) == 0


def test_what_kills_left_is_gone_when_the_run_goes_on(interrupted: Kind, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(interrupted.directory, directory)
    assert list(directory.rglob(".nasmeta-*.tmp")), "the kill tore a write"
    assert main(["resume", str(directory)]) == 0
    assert not list(directory.rglob(".nasmeta-*.tmp"))


# What the command line names ------------------------------------------------------------------------------

NAMED = {
    "resume": ["resume", "PATH"],
    "evaluate": ["evaluate", "PATH"],
    "report": ["report", "PATH"],
    "compare": ["compare", "PATH"],
    "predict": ["predict", "PATH", "--support", "FOLDER", "--query", "FOLDER"],
    "support": ["predict", "RUN", "--support", "PATH", "--query", "FOLDER"],
    "export": ["export", "PATH"],
    "table": ["search", "evaluator=tabular", "search_space=nasbench201", "evaluator.table=PATH"],
    "dataset": ["search", "dataset=image_folder", "dataset.root=PATH"],
    "split files": ["search", "dataset=image_folder", "dataset.root=FOLDER", "dataset.split_files=PATH"],
    "archive": ["search", "dataset=omniglot", "dataset.root=PATH", "dataset.download=false"],
    "options": ["search", "--config-dir", "PATH"],
    "output": ["predict", "RUN", "--support", "FOLDER", "--query", "FOLDER", "--output", "PATH"],
    "page": ["report", "RUN", "--output", "PATH"],
    "run": ["search", *SHORT, "hydra.run.dir=PATH"],
    "sweep": ["search", *SHORT, "-m", "seed=1,2", "hydra.sweep.dir=PATH"],
}


@pytest.mark.timeout(60, func_only=True)
@pytest.mark.parametrize("what", NAMED)
@pytest.mark.parametrize("device", ["pipe", "/dev/zero", "/dev/null"])
def test_a_pipe_or_a_device_as_an_argument_is_answered_at_once(
    what: str, device: str, finished: Kind, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pipe" if device == "pipe" else Path(device)
    if device == "pipe":
        os.mkfifo(path)
    words = {"PATH": str(path), "FOLDER": str(tmp_path), "RUN": str(finished.directory)}
    arguments = NAMED[what]
    for name, value in words.items():
        arguments = [argument.replace(name, value) for argument in arguments]
    assert main(arguments) == 2
    error = capfd.readouterr().err.strip()
    assert error.startswith("nasmeta: ")
    assert "\n" not in error


def test_of_a_front_only_its_own_checkpoints_are_deleted(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.pareto.mkdir()
    for name in ("1.pt", "2.pt", "mine.pt", "²3.pt", "-4.pt", ".pt"):
        (directory.pareto / name).touch()
    keep_front(directory, {1})
    assert {path.name for path in directory.pareto.iterdir()} == {"1.pt", "mine.pt", "²3.pt", "-4.pt", ".pt"}
