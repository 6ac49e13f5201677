"""Malformed input at large: exit code 2 and one helpful line, or a correct run; never a traceback, never a
change outside the run directory.

NASMETA_MALFORMED=1000 throws as many at the commands; the suite's default is a sample of the same.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nasmeta.cli.main import main
from nasmeta.run.composition import Composition
from nasmeta.run.manifest import MANIFEST
from nasmeta.training import checkpoint
from tests.cli.runs import TINY
from tests.hostile.makers import journal_line

EXAMPLES = int(os.environ.get("NASMETA_MALFORMED", "50"))
SHORT = [
    *[o for o in TINY if not o.startswith("budget.")],
    "budget.trials=2",
    "budget.search_iterations=1",
    "budget.final_candidates=1",
    "budget.final_iterations=1",
    "budget.valid_tasks=2",
    "budget.final_tasks=2",
    "budget.test_tasks=2",
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.just(10**30)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["../x", "/etc/passwd", "${oc.env:HOME}", "${seed}", "os.system", "nasmeta.run.directory.os"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)


class Looked(Exception):
    """A command that got as far as loading data: its input was accepted."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished") / "run"
    overrides = [o for o in SHORT if not o.startswith("hydra")]
    assert main(["search", *overrides, f"hydra.run.dir={directory}"]) == 0
    return directory


def check(arguments: list[str], outside: Path, accepted: bool = True) -> int:
    """Runs the command; what it may do, and what not. `outside` is a folder that it must not touch."""
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    out, err = StringIO(), StringIO()
    old = os.getcwd()
    os.chdir(outside)
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
            patch.setattr(Composition, "sampler", _stop)
            try:
                code = main(arguments)
            except SystemExit as exit:  # argparse
                code = int(exit.code or 0)
            except Looked:
                code = 0
    finally:
        os.chdir(old)
    told = err.getvalue()
    assert code in ((0, 2) if accepted else (2,)), (arguments, told)
    assert "Traceback" not in told
    if code == 2:
        lines = [line for line in told.splitlines() if line.startswith("nasmeta: ") or ": error: " in line]
        assert len(lines) == 1, (arguments, told)
        assert len(lines[0]) > len("nasmeta: ") + 5
    assert before == {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    return code


def _stop(self: Composition, split: str) -> Any:
    raise Looked


def quick(test: Callable[..., None]) -> Callable[..., None]:
    health = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(
        max_examples=max(EXAMPLES // 5, 1),
        deadline=None,
        suppress_health_check=health,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),  # shrinking a failure would take minutes
    )(test)


KEYS = [
    "seed", "device", "batch_norm", "task", "task.way", "budget.trials", "budget.max_seconds", "precision",
    "constraints.max_params", "strategy", "strategy._target_", "strategy.population_size", "search_space",
    "search_space.widths", "evaluator", "evaluator.max_seconds", "meta_learner", "dataset", "dataset.root",
    "optimizer.lr", "executor", "experiment", "debug", "hydra.job.name", "nonsense", "+new", "~seed", "++a.b",
]  # fmt: skip


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


overrides = st.lists(
    st.builds(lambda key, value: f"{key}={text_of(value)}", st.sampled_from(KEYS), values)
    | st.text(max_size=12).filter(lambda text: not text.startswith("-") and "\0" not in text),
    min_size=1,
    max_size=3,
)


@quick
@given(overrides, st.sampled_from(["search", "bench", "evaluate", "resume"]))
def test_overrides(finished: Path, given_overrides: list[str], command: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = ["--"] if command != "search" else []
        if command == "search":
            arguments = ["search", *given_overrides, f"hydra.run.dir={folder / 'run'}"]
        elif command == "bench":
            arguments = ["bench", *run, *given_overrides]
        else:
            shutil.copytree(finished, folder / "run")
            arguments = [command, *run, str(folder / "run"), *given_overrides]
        (folder / "outside").mkdir()
        (folder / "outside" / "file").write_text("mine")
        check(arguments, folder / "outside")


@quick
@given(st.text(max_size=40) | values.map(json.dumps) | st.binary(max_size=40), values)
def test_stored_configurations(finished: Path, text: str | bytes, value: Any) -> None:
    """A config.json that is anything, or has any value at one key."""
    stored = (finished / "config.json").read_text()
    at = stored.index('"task":') if isinstance(text, str) and len(text) % 2 else None
    whole = f'{stored[:at]}"task": {json.dumps(value)}, {stored[at:]}' if at is not None else text
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "run" / "config.json"
        config.parent.mkdir()
        config.write_bytes(whole if isinstance(whole, bytes) else whole.encode("utf-8", "surrogatepass"))
        (Path(name) / "outside").mkdir()
        check(["resume", str(Path(name) / "run")], Path(name) / "outside")


records = st.fixed_dictionaries(
    {"v": st.sampled_from([1, 1, 1, 2, None]), "event": st.sampled_from(["asked", "finished", "tested"])},
    optional=dict.fromkeys(("trial", "arch", "iterations", "phase", "status", "elapsed", "score"), values),
)

lines_of_journals = records.map(journal_line) | st.binary(max_size=30)


@quick
@given(st.lists(lines_of_journals, min_size=1, max_size=3), st.integers(0, 12))
def test_journals(finished: Path, lines: list[bytes], keep: int) -> None:
    """Lines of a journal replaced by others, some with checksums that are right."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(finished, Path(name) / "run")
        journal = Path(name) / "run" / "journal.jsonl"
        whole = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join([*whole[:keep], *lines]))
        (Path(name) / "outside").mkdir()
        check(["resume", str(Path(name) / "run")], Path(name) / "outside")


@quick
@given(
    st.sampled_from(["arch", "task", "config", "parameters", "statistics", "metrics", "format", "bytes"]),
    values,
    st.integers(0, 10**6),
)
def test_checkpoints(finished: Path, key: str, value: Any, position: int) -> None:
    """A best.pt with any value at a key, or with a byte changed, or cut off."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "best.pt"
        (Path(name) / "outside").mkdir()
        saved = checkpoint.load(finished / "best.pt")
        if key != "bytes":
            saved[key] = value
            torch.save(saved, path)
        else:
            data = bytearray((finished / "best.pt").read_bytes())
            data[position % len(data)] ^= 0xFF
            path.write_bytes(data if position % 2 else data[: position % len(data)])
        check(["evaluate", str(path)], Path(name) / "outside")


@quick
@given(st.sampled_from(["sweep", "run", "file", "empty", "deep"]), values)
def test_folders(kind: str, value: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "folder"
        (Path(name) / "outside").mkdir()
        if kind == "file":
            folder.write_text(text_of(value), errors="replace")
        else:
            folder.mkdir()
        if kind == "sweep":
            (folder / MANIFEST).write_text(json.dumps({"format": 1, "jobs": value}))
        elif kind == "run":
            (folder / "journal.jsonl").mkdir()
        elif kind == "deep":
            (folder / "config.json").write_text('{"a": ' + "[" * 3000 + "]" * 3000 + "}")
        for command in ("resume", "evaluate"):
            check([command, str(folder)], Path(name) / "outside", accepted=False)
