"""Makers of hostile run directories, sweeps and checkpoints, and a canary that shows what these did.

A maker changes something that nasmeta wrote and makes its checksums right again, as a stranger could. A
`Canary` is a folder outside that no command may touch. It names a target that leaves a mark if it is called.
"""

import io
import json
import os
import shutil
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nasmeta.cli.main import main
from nasmeta.run import journal
from nasmeta.run.manifest import MANIFEST, SweepPlan

Change = Callable[[dict[str, Any]], Any]
"""Changes a configuration in place."""

SECRET = "hunter2-the-secret"
"""A text in the environment and in a file of the user. It must be in nothing that a command writes."""


# What a stranger would send ------------------------------------------------------------------------------


def change_config(directory: Path, change: Change) -> Path:
    """Changes the configuration of a run in every file that stores it."""
    file = directory / "config.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    (directory / ".hydra" / "config.yaml").write_text(json.dumps(values))  # JSON is YAML
    change_journal(directory, lambda record: change(record["config"]) if "config" in record else None)
    if (directory / "best.pt").exists():
        change_checkpoint(directory / "best.pt", lambda saved: change(saved["config"]))
    return directory


def change_journal(directory: Path, change: Change) -> Path:
    """Changes every record of a run's journal in place."""
    path = directory / "journal.jsonl"
    records, _ = journal.read(path)
    for record in records:
        change(record)
    path.write_bytes(b"".join(journal_line(record) for record in records))
    return directory


def journal_line(record: Mapping[str, Any]) -> bytes:
    """A line of a journal with the right checksum."""
    body = json.dumps(record, separators=(",", ":"))
    return f'{{"crc":"{zlib.crc32(body.encode()):08x}",{body[1:]}\n'.encode()


def change_checkpoint(path: Path, change: Change) -> Path:
    """Changes the contents of a file of tensors in place."""
    saved = torch.load(path, weights_only=True)
    change(saved)
    torch.save(saved, path)
    return path


def make_sweep(directory: Path, jobs: list[dict[str, Any]], **values: Any) -> Path:
    """Makes the directory of a sweep with a manifest of `jobs`; `values`: its other keys, as in SweepPlan."""
    directory.mkdir(parents=True, exist_ok=True)
    plan = {
        "sweeper": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "total": len(jobs),
        **values,
    }
    (directory / MANIFEST).write_text(
        json.dumps({"format": SweepPlan.model_fields["format"].default, **plan, "jobs": jobs})
    )
    return directory


def make_job(number: int, config: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A job for `make_sweep`; `values` are its other keys."""
    return {"number": number, "directory": str(number), "overrides": [], "config": config} | values


def set_at(values: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Sets the value at a path of keys and indices."""
    for part in path[:-1]:
        values = values[part]
    values[path[-1]] = value


def places(values: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in a configuration, including those inside of others."""
    if path:
        yield path
    items = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


# What it must not do -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """The exit code of a command, and all that it printed."""

    code: int
    out: str
    err: str


class Canary:
    """A folder of the user, outside of everything that a command is given.

    `secret` is a file that no command may read. `mark` is a folder that exists if `call` has been called.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.mark = folder / "ran"
        self.secret = folder / "secret"
        self.secret.write_text(SECRET)

    @property
    def call(self) -> dict[str, str]:
        """An option that makes `mark` if it is called."""
        return {"_target_": "os.mkdir", "path": str(self.mark)}

    @property
    def interpolations(self) -> list[str]:
        """Texts that make `mark`, or reveal the secret, if they are resolved."""
        call = f"oc.create:{{_target_:os.mkdir,path:{self.mark}}}"
        plain = [f"${{{call}}}", "${oc.env:NASMETA_SECRET}", "${seed}", "${now:%Y}", "${hydra:runtime.cwd}"]
        return [*plain, *(f"\\{text}" for text in plain), f"a${{oc.decode:'${{{call}}}'}}"]

    @contextmanager
    def untouched(self, directory: Path) -> Iterator[None]:
        """Checks that inside nothing calls the target, changes this folder, or leaks the secret.

        The secret must not be in a file below `directory`.
        """
        before = self._contents()
        os.environ["NASMETA_SECRET"] = SECRET
        try:
            yield
        finally:
            del os.environ["NASMETA_SECRET"]
        assert not self.mark.exists(), "code was run"
        assert self._contents() == before, "a file outside was written"
        for path in directory.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes(), f"{path} tells the secret"

    def _contents(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


def run(canary: Canary, directory: Path, *arguments: str) -> Outcome:
    """Runs a command on a hostile directory and checks what every command promises, see docs/security.md.

    Nothing is run, read or written outside. The command ends with a known exit code and without a traceback,
    and an error is one line.
    """
    out, err = io.StringIO(), io.StringIO()
    with canary.untouched(directory), chdir(canary.folder), redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(list(arguments))
        except SystemExit as exit:  # argparse
            code = int(exit.code or 0)
        except Exception:
            err.write(traceback.format_exc())
            code = 70
    outcome = Outcome(code, out.getvalue(), err.getvalue())
    assert "Traceback" not in outcome.err, outcome.err[-3000:]
    assert SECRET not in outcome.out + outcome.err
    assert code in (0, 1, 2), (code, outcome.err)
    if code:
        lines = [line for line in outcome.err.splitlines() if line.startswith("nasmeta: ")]
        assert len(lines) == 1, outcome.err
    return outcome


def copy_of(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target
