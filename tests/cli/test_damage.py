"""Files that are torn, flipped, emptied or lost: each is named, and costs minutes and never the run."""

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nasmeta.cli.main import main
from nasmeta.errors import CheckpointError
from nasmeta.training import checkpoint
from tests.cli.kills import FORK, outcome, spawn
from tests.cli.runs import SAVED, search

KILL_AT = 20  # in the third trial's training, after two of its checkpoints
Damage = Callable[[Path], None]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit in the middle of a tensor."""
    data = bytearray(path.read_bytes())
    data[data.index(b"data/0") + 100] ^= 0x10
    path.write_bytes(data)


def lose(path: Path) -> None:
    path.unlink()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unbroken") / "run"
    assert spawn(["search", *SAVED, f"hydra.run.dir={directory}"]) == 0
    return directory


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("killed") / "run"
    assert spawn(["search", *SAVED, f"hydra.run.dir={directory}"], KILL_AT) == -signal.SIGKILL
    return directory


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_once, tmp_path / "run"))


@pytest.mark.parametrize(
    "damage,both",
    [(empty, False), (cut, False), (flip, False), (lose, False), (flip, True), (lose, True)],
)
def test_a_damaged_checkpoint_costs_a_part_of_its_trial(
    unbroken: Path, killed: Path, damage: Damage, both: bool, caplog: pytest.LogCaptureFixture
) -> None:
    newest = max(killed.glob("checkpoints/*.pt"))
    assert newest.with_suffix(".previous").exists()
    damage(newest)
    if both:
        damage(newest.with_suffix(".previous"))
    assert main(["resume", str(killed)]) == 0
    assert (f"{newest}: damaged" in caplog.text) == (damage is not lose)
    assert outcome(killed) == outcome(unbroken)


def test_every_flipped_bit_of_a_checkpoint_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    values = {"weights": torch.arange(64.0), "arch": "fc16", "iteration": 3}
    checkpoint.save(path, values)
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            loaded = checkpoint.load(path)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017
            noticed += 1
        else:
            assert torch.equal(loaded.pop("weights"), values["weights"]), position
            assert loaded == {"arch": "fc16", "iteration": 3}, position
    assert noticed > 300


@pytest.mark.parametrize("damage", [empty, cut, lose], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["best.pt", "summary.json"])
def test_what_a_finished_run_lost_is_made_again(
    unbroken: Path,
    tmp_path: Path,
    name: str,
    damage: Damage,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(unbroken, directory)
    damage(directory / name)
    if name == "best.pt":
        capfd.readouterr()
        assert main(["evaluate", str(directory)]) == 2
        assert f"{directory / name}: " in capfd.readouterr().err
    assert main(["resume", str(directory)]) == 0
    assert f"{directory / name}: " in caplog.text
    again, before = outcome(directory), outcome(unbroken)
    again["journal"] = again["journal"][: len(before["journal"])]
    assert again == before


def test_a_damaged_configuration_is_taken_from_the_journal(
    unbroken: Path, killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = killed / "config.json"
    config.write_text("seed: [1")
    assert main(["resume", str(killed)]) == 0
    assert f"{config}: damaged" in caplog.text
    assert outcome(killed) == outcome(unbroken)
    config.unlink()
    assert main(["resume", str(killed)]) == 0
    assert f"{killed}: " in caplog.text
    assert "config.json" in caplog.text


def test_a_damaged_line_in_the_middle_says_what_to_do(
    unbroken: Path, killed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = killed / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3].replace(b"1", b"2"), *lines[4:]]))
    damaged = path.read_bytes()
    assert main(["resume", str(killed)]) == 2
    assert f"{path}: line 4 " in capfd.readouterr().err
    assert path.read_bytes() == damaged
    path.write_bytes(b"".join(lines[:3]))  # as the message says
    assert main(["resume", str(killed)]) == 0
    assert outcome(killed) == outcome(unbroken)


def run_on_a_full_disk(arguments: list[str], limit: int, said: Path) -> None:
    """No file can grow beyond `limit` bytes; what is said goes to the file `said`."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    torch.set_num_threads(1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.exit(main(arguments))


@pytest.mark.parametrize("limit", [5000, 9000])
def test_a_full_disk_stops_the_run_unharmed(unbroken: Path, tmp_path: Path, limit: int) -> None:
    directory, said = tmp_path / "run", tmp_path / "said"
    arguments = ["search", *SAVED, f"hydra.run.dir={directory}"]
    process = FORK.Process(target=run_on_a_full_disk, args=(arguments, limit, said))
    process.start()
    process.join(120)
    assert process.exitcode == 1, said.read_text()
    assert "File too large" in said.read_text()
    assert f"nasmeta resume {directory}" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert spawn(["resume", str(directory)]) == 0
    assert outcome(directory) == outcome(unbroken)


def test_a_stale_lock_is_no_obstacle(killed: Path) -> None:
    """The file stays behind a SIGKILL; what it stood for does not."""
    assert (killed / "run.lock").exists()
    assert spawn(["resume", str(killed)]) == 0


def test_a_live_lock_outlasts_the_death_of_a_waiting_process(tmp_path: Path) -> None:
    from nasmeta.run.directory import RunDirectory

    directory = tmp_path / "run"
    assert search(directory) == 0
    with RunDirectory(directory).lock():
        process = FORK.Process(target=os._exit, args=(0,))
        process.start()
        process.join()
        assert spawn(["resume", str(directory)]) == 2


def test_a_journal_that_no_run_wrote_is_refused(killed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from nasmeta.run.journal import Journal

    for values in ({"trial": 0}, {"trial": "x", "arch": "fc16", "iterations": 3}, {"elapsed": -1}):
        whole = (killed / "journal.jsonl").read_bytes()
        with Journal(killed / "journal.jsonl") as journal:
            journal.append("asked", **values)
        assert main(["resume", str(killed)]) == 2
        err = capfd.readouterr().err
        assert "journal.jsonl: line" in err, err
        assert json.loads(whole.splitlines()[0])["event"] == "started"
        (killed / "journal.jsonl").write_bytes(whole)
