"""The gate for files: what it refuses, whatever stands in a file's place, and what it never touches."""

import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nasmeta.errors import RunDirectoryError, StorageError, UserError
from nasmeta.runtime import files

SECRET = b"not yours"
pytestmark = pytest.mark.timeout(30, func_only=True)  # whoever waits for a pipe would wait for ever


def pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def socket_file(path: Path, outside: Path) -> None:
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as listening:  # a socket's path is short
        listening.bind(path.name)


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def relative_link(path: Path, outside: Path) -> None:
    path.symlink_to(os.path.relpath(outside, path.parent))


def link_to_a_device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path.name)


@contextmanager
def chdir(path: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


LINKS = [link, relative_link, link_to_a_device, link_to_itself]
NO_FILES = [pipe, socket_file, folder]
Plant = Callable[[Path, Path], None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    return tmp_path / "run"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file of the user outside of the run: it is never changed, and nothing appears beside it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_bytes(SECRET)
    before = os.stat(home / "file")
    yield home / "file"
    assert os.listdir(home) == ["file"]
    assert (home / "file").read_bytes() == SECRET
    assert os.stat(home / "file").st_mtime_ns == before.st_mtime_ns


# Reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plant", [*LINKS, *NO_FILES])
def test_nothing_but_a_file_of_the_folder_is_read(run: Path, outside: Path, plant: Plant) -> None:
    path = run / "journal.jsonl"
    plant(path, outside)
    with pytest.raises(files.Refused, match=r"is a (symbolic link|named pipe|socket|folder) instead of"):
        files.read_bytes(path, 100, inside=run)


@pytest.mark.parametrize("plant", [link, pipe, folder])
def test_what_takes_the_place_of_a_file_after_the_look_is_not_opened(
    run: Path, outside: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run / "journal.jsonl"
    plant(path, outside)
    a_file = os.stat(outside)
    monkeypatch.setattr(files, "_stat", lambda *arguments, **options: a_file)
    with pytest.raises(OSError, match=r"instead of a regular file|Too many levels|Is a directory"):
        files.read_bytes(path, 100, inside=run)
    with pytest.raises(
        OSError, match=r"instead of a regular file|Too many levels|Is a directory|No such device"
    ):
        files.appending(path, inside=run)


@pytest.mark.parametrize("plant", [link_to_a_device, link_to_itself, *NO_FILES])
def test_what_the_user_names_is_a_file_too(run: Path, outside: Path, plant: Plant) -> None:
    plant(run / "x", outside)
    with pytest.raises(OSError, match=r"instead of a regular file|Too many levels"):
        files.read_bytes(run / "x", 100)


def test_links_that_the_user_names_are_followed(run: Path, outside: Path) -> None:
    link(run / "x", outside)
    assert files.read_bytes(run / "x", 100) == SECRET
    (run.parent / "linked").symlink_to(run)
    (run / "y").write_bytes(b"y")
    assert files.read_bytes(run.parent / "linked" / "y", 100, inside=run.parent / "linked") == b"y"


@pytest.mark.parametrize("path", ["../home/file", "checkpoints/../../home/file", "away/file", "away/.."])
def test_no_path_leads_out_of_the_folder(run: Path, outside: Path, path: str) -> None:
    (run / "away").symlink_to(outside.parent)
    with pytest.raises(files.Refused, match=r"leads out of|away is a symbolic link|is a folder"):
        files.read_bytes(run / path, 100, inside=run)
    with pytest.raises(UserError, match=r"cannot be written: .*(leads out of|is a symbolic link)"):
        files.write_atomically(run / path, b"new", inside=run)
    with pytest.raises(OSError, match=r"leads out|symbolic link|is a folder"):
        files.appending(run / path, inside=run)
    with pytest.raises(UserError, match=r"cannot be deleted: .*(leads out of|is a symbolic link)"):
        files.remove(run / path, inside=run)


def test_links_that_lead_out_or_in_a_circle_are_not_inside(run: Path, outside: Path) -> None:
    link(run / "out", outside.parent)
    link(run / "in", run / "checkpoints")
    link_to_itself(run / "circle", outside)
    for name in ("checkpoints", "none", "none/none", "in"):
        assert files.is_inside(run / name, run)
    for name in ("", ".", "..", "out", "out/x", "circle", "a\0b", "/"):
        assert not files.is_inside(run / name, run)


def test_a_bound_is_kept_and_named(run: Path) -> None:
    (run / "x").write_bytes(b"12345")
    assert files.read_bytes(run / "x", 5) == b"12345"
    with pytest.raises(files.Refused, match=r"has 5 bytes, at most 4 are read"):
        files.read_bytes(run / "x", 4)
    with open(run / "huge", "wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(files.Refused, match=f"has {1 << 40} bytes"):
        files.read_bytes(run / "huge", files.MAX_TENSORS)


def test_what_is_missing_or_forbidden_says_so(run: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        files.read_bytes(run / "none" / "x", 1, inside=run)
    with pytest.raises(files.Refused, match="NUL"):
        files.read_bytes(run / "a\0b", 1, inside=run)
    with pytest.raises(OSError, match="too long"):
        files.read_bytes(run / ("a" * 256), 1, inside=run)


@pytest.mark.parametrize("name", ["a" * 255, "caf\udce9", "new\nline", "-rf", " "])
def test_every_legal_name_is_written_and_read(run: Path, name: str) -> None:
    path = run / name
    for data in (b"1", b"2"):
        files.write_atomically(path, data, inside=run)
        assert files.read_bytes(path, 9, inside=run) == data
    with files.appending(path, inside=run) as file:
        file.write(b"3")
    assert files.read_bytes(path, 9) == b"23"
    files.remove(path, inside=run)
    assert os.listdir(run) == ["checkpoints"]


# Writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plant", [*LINKS, pipe, socket_file])
def test_a_replaced_link_leaves_its_target_alone(run: Path, outside: Path, plant: Plant) -> None:
    path = run / "best.pt"
    plant(path, outside)
    files.write_atomically(path, b"new", inside=run)
    assert stat.S_ISREG(os.lstat(path).st_mode)
    assert path.read_bytes() == b"new"


def test_a_folder_is_not_replaced(run: Path) -> None:
    (run / "checkpoints" / "x").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"checkpoints: cannot be written: Is a directory"):
        files.write_atomically(run / "checkpoints", b"new", inside=run)
    assert os.listdir(run) == ["checkpoints"]
    assert (run / "checkpoints" / "x").read_bytes() == b"x"


def test_the_temporary_name_cannot_be_foreseen_and_is_never_opened(
    run: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for _ in range(5):
        with files.replacing(run / "x") as file:
            names |= {name for name in os.listdir(run) if name not in ("x", "checkpoints")}
            file.write(b"x")
    assert len(names) == 5
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 2 * n)
    planted = run / f".nasmeta-{'0' * 16}.tmp"
    planted.symlink_to(outside)
    with pytest.raises(StorageError, match="File exists"):
        files.write_atomically(run / "x", b"new")


@pytest.mark.parametrize("umask,mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_bits_are_as_the_umask_says(run: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        files.write_atomically(run / "x", b"")
        files.appending(run / "y", inside=run).close()
    finally:
        os.umask(before)
    assert {stat.S_IMODE(os.stat(run / name).st_mode) for name in "xy"} == {mode}


def test_the_file_before_is_kept_under_its_second_name(run: Path) -> None:
    for data in (b"1", b"2", b"3"):
        files.write_atomically(run / "x.pt", data, run / "x.previous", inside=run)
    assert (run / "x.pt").read_bytes() == b"3"
    assert (run / "x.previous").read_bytes() == b"2"


@pytest.mark.parametrize(
    "error, raised, said",
    [
        (OSError(28, "No space left on device"), StorageError, "x: cannot be written: No space left"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    raised: type[BaseException],
    said: str | None,
) -> None:
    files.write_atomically(run / "x", b"old")

    def fails(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(raised, match=said):
        files.write_atomically(run / "x", b"new")
    assert sorted(os.listdir(run)) == ["checkpoints", "x"]
    assert (run / "x").read_bytes() == b"old"


def test_content_and_name_are_synced_once_each(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(stat.S_IFMT(os.fstat(fd).st_mode)), fsync(fd)))
    files.write_atomically(run / "x", b"new", inside=run)
    assert synced == [stat.S_IFREG, stat.S_IFDIR]
    with files.replacing(run / "cache", durable=False) as file:
        file.write(b"x")
    assert len(synced) == 2


@pytest.mark.parametrize("plant", [*LINKS, *NO_FILES])
def test_nothing_is_appended_to_what_is_not_a_file_of_the_folder(
    run: Path, outside: Path, plant: Plant
) -> None:
    plant(run / "journal.jsonl", outside)
    with pytest.raises(files.Refused, match=r"is a (symbolic link|named pipe|socket|folder) instead of"):
        files.appending(run / "journal.jsonl", inside=run)


def test_nothing_is_appended_to_a_hard_link(run: Path, outside: Path) -> None:
    os.link(outside, run / "journal.jsonl")
    with pytest.raises(files.Refused, match="is a hard link"):
        files.appending(run / "journal.jsonl", inside=run)
    files.write_atomically(run / "journal.jsonl", b"a copy of its own", inside=run)


@pytest.mark.parametrize("plant", [link, relative_link, pipe, socket_file, folder])
def test_deleting_takes_the_name_and_not_what_it_leads_to(run: Path, outside: Path, plant: Plant) -> None:
    plant(run / "x", outside)
    if plant is folder:
        with pytest.raises(StorageError, match="cannot be deleted"):
            files.remove(run / "x", inside=run)
    else:
        files.remove(run / "x", inside=run)
        files.remove(run / "x", inside=run)
        assert not os.path.lexists(run / "x")


@pytest.mark.parametrize("plant", [link_to_itself, pipe, socket_file])
def test_a_folder_is_made_once_and_is_one(run: Path, outside: Path, plant: Plant) -> None:
    for _ in range(2):
        files.make_folder(run / "pareto", inside=run)
    plant(run / "control", outside)
    with pytest.raises(UserError, match=r"control: cannot be made: is a .* instead of a folder"):
        files.make_folder(run / "control", inside=run)
    (run / "away").symlink_to(outside.parent)
    with pytest.raises(UserError, match=r"away: .* is a symbolic link"):
        files.make_folder(run / "away", inside=run)


@pytest.mark.parametrize("plant", [*LINKS, pipe, socket_file])
def test_what_a_library_is_to_write_is_looked_at_before(run: Path, outside: Path, plant: Plant) -> None:
    (run / "config.yaml").write_bytes(b"x")
    files.check_plain(run / "none" / "none", run / "checkpoints", run / "config.yaml")
    plant(run / "overrides.yaml", outside)
    with pytest.raises(UserError, match=r"overrides\.yaml: cannot be used: is a "):
        files.check_plain(run / "overrides.yaml")
    os.link(outside, run / "hydra.yaml")
    with pytest.raises(UserError, match="is a hard link"):
        files.check_plain(run / "hydra.yaml")


@pytest.mark.parametrize("plant", [*LINKS, *NO_FILES])
def test_a_lock_is_a_file_of_the_folder(run: Path, outside: Path, plant: Plant) -> None:
    for _ in range(2):  # it is free after its block
        with (
            files.locked(run / "run.lock", "run"),
            pytest.raises(RunDirectoryError, match=r"another process .*\(it holds run\.lock\)"),
            files.locked(run / "run.lock", "run"),
        ):
            pass
    plant(run / "sweep.lock", outside)
    with (
        pytest.raises(UserError, match=r"sweep\.lock: cannot be locked: is a "),
        files.locked(run / "sweep.lock", "sweep"),
    ):
        pass


# What kills leave ---------------------------------------------------------------------------------------


def test_leftovers_are_deleted_and_nothing_else(run: Path, outside: Path) -> None:
    names = [".nasmeta-0123456789abcdef.tmp", ".nasmeta-x.tmp"]
    kept = ["best.pt", ".best.pt.tmp", "nasmeta-1.tmp"]
    for name in names + kept:
        (run / name).write_bytes(b"x")
    (run / ".nasmeta-link.tmp").symlink_to(outside)
    (run / ".nasmeta-folder.tmp").mkdir()
    files.remove_leftovers(run)
    assert sorted(os.listdir(run)) == sorted([*kept, "checkpoints", ".nasmeta-folder.tmp"])


def test_old_leftovers_go_with_the_next_write(tmp_path: Path) -> None:
    old, new = tmp_path / ".nasmeta-1.tmp", tmp_path / ".nasmeta-2.tmp"
    for path in (old, new):
        path.write_bytes(b"x")
    hours_ago = time.time() - 2 * files.ABANDONED_SECONDS
    os.utime(old, (hours_ago, hours_ago))
    files.write_atomically(tmp_path / "x", b"x")
    assert sorted(os.listdir(tmp_path)) == [new.name, "x"], "the new one may be somebody's"
