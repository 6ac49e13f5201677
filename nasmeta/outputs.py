"""What a run leaves for its user: best.pt, the checkpoints of the Pareto front, summary.json."""

import json
import logging
import zlib
from collections.abc import Collection
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from nasmeta import checkpoint
from nasmeta.composition import Composition
from nasmeta.errors import CheckpointError
from nasmeta.evaluators.base import TrialResult
from nasmeta.journal import Journal
from nasmeta.rundir import RunDirectory

log = logging.getLogger(__name__)


def save_network(
    composition: Composition, path: Path, weights: Path, result: TrialResult, metrics: dict[str, Any]
) -> None:
    """Writes what `nasmeta evaluate` reads, of the weights that a trial has left."""
    saved = checkpoint.load(weights)
    task, preprocessing = composition.task, composition.dataset.preprocessing
    contents = {
        "arch": result.arch,
        "task": {f.name: getattr(task, f.name) for f in fields(task)},
        "config": composition.config.to_dict(),
        "parameters": saved["training"]["parameters"],
        "statistics": saved["statistics"],
        "preprocessing": None if preprocessing is None else asdict(preprocessing),
        "metrics": metrics,
    }
    checkpoint.save_best(path, contents)


def keep_front(directory: RunDirectory, trials: Collection[int]) -> None:
    """Deletes the checkpoints of trials that are not on the Pareto front any more."""
    for path in directory.pareto.glob("*.pt"):
        if int(path.stem) not in trials:
            path.unlink(missing_ok=True)


def save_summary(directory: RunDirectory, summary: dict[str, Any]) -> int:
    """Writes summary.json; returns its checksum."""
    text = json.dumps(summary, indent=2).encode() + b"\n"
    checkpoint.write_atomically(directory.summary, text)
    return zlib.crc32(text)


def stored_summary(directory: RunDirectory, journal: Journal, *, trained: bool) -> dict[str, Any] | None:
    """The summary of a run that has ended; None where it has not, or its files have to be made again.

    `trained`: best.pt is one of them.
    """
    tested = [r for r in journal.records if r["event"] == "tested"]
    if not tested:
        return None
    try:
        text = directory.summary.read_bytes()
        if tested[-1].get("checksum", zlib.crc32(text)) != zlib.crc32(text):
            raise ValueError("its checksum is wrong")
        summary: dict[str, Any] = json.loads(text)
        if trained:
            checkpoint.load_best(directory.best)
    except CheckpointError as error:
        log.warning("%s; made again", error)
    except (OSError, ValueError) as error:
        log.warning("%s: missing or damaged (%s); made again", directory.summary, error)
    else:
        return summary
    return None
