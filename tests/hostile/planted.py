"""What a stranger may put in the place of a file, and how to run commands in a separate process."""

import contextlib
import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasmeta.cli.main import main
from tests.cli.kills import FORK

LIMIT = 60.0
"""Seconds that a command may take, on a busy machine. What waits for a pipe would wait for ever."""

Plant = Callable[[Path, Path], None]
"""plant(path, outside) puts something at `path`, which does not exist; `outside` is a file of the user."""


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside.with_name(f"{outside.name}-new"))


def link_to_a_device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path.name)


def hard_link(path: Path, outside: Path) -> None:
    if outside.is_file():
        os.link(outside, path)


def pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


def listener(path: Path, outside: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:  # its path may have a hundred characters
        listening.bind(f"/proc/self/fd/{descriptor}/{path.name}")
    os.close(descriptor)


def nothing(path: Path, outside: Path) -> None:
    pass


PLANTS: list[Plant] = [
    link, link_to_nothing, link_to_a_device, link_to_itself, hard_link, pipe, folder, listener, nothing,
]  # fmt: skip


def snapshot(folder: Path) -> dict[str, str]:
    """Name -> state of all that is in a folder: time and hash of files, mode of the rest, target of links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() or not path.is_file():
            found[name] = f"{path.lstat().st_mode} {os.readlink(path) if path.is_symlink() else ''}"
        else:
            found[name] = f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


@dataclass(frozen=True)
class Case:
    """A command, the file for its output, and the folder that it must not change."""

    name: str
    arguments: list[str]
    output: Path
    outside: Path


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: None if it raised. text: stdout and stderr. harm: what changed outside."""

    case: Case
    code: int | None
    text: str
    harm: list[str]


def run_all(cases: Sequence[Case]) -> list[Ended]:
    """Runs the commands one after the other in one process. Fails if one takes longer than LIMIT."""
    process = FORK.Process(target=_run_all, args=(list(cases),))
    process.start()
    ended, begun = 0, time.monotonic()
    while process.is_alive() and time.monotonic() - begun < LIMIT:
        process.join(0.05)
        now = sum(_result(case).exists() for case in cases)
        if now > ended:
            ended, begun = now, time.monotonic()
    process.kill()
    process.join()
    stuck = next((case for case in cases if not _result(case).exists()), None)
    assert stuck is None, f"{stuck} does not end: {stuck and stuck.output.read_text()}"
    return [Ended(case, **json.loads(_result(case).read_text())) for case in cases]


def _result(case: Case) -> Path:
    return case.output.with_suffix(".json")


def _run_all(cases: Sequence[Case]) -> None:
    for case in cases:
        before = snapshot(case.outside)
        logging.getLogger().handlers.clear()  # they are made again, for this output
        with case.output.open("w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = main(case.arguments)
            except SystemExit as stopped:
                code = stopped.code
            except BaseException as error:
                print(f"Traceback: {error!r}")
                code = None
        after = snapshot(case.outside)
        harm = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        text = case.output.read_text(errors="replace")
        part = _result(case).with_suffix(".part")
        part.write_text(json.dumps({"code": code, "text": text, "harm": harm}))
        part.rename(_result(case))
