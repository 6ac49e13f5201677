"""The files that a run leaves for its user: best.pt, checkpoints of the Pareto front, summary.json."""

import json
import logging
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from nasmeta.config.tuning import with_own_settings
from nasmeta.errors import CheckpointError
from nasmeta.run import summary_file
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.journal import Record
from nasmeta.runtime import files
from nasmeta.training.trained_network import TrainedNetwork
from nasmeta.training.weights import Weights
from nasmeta.trial import TrialResult

log = logging.getLogger(__name__)


def save_network(
    composition: Composition,
    path: Path,
    weights: Path,
    result: TrialResult,
    metrics: dict[str, Any],
    *,
    provisional: bool,
    inside: Path,
) -> None:
    """Writes a checkpoint that `nasmeta evaluate` reads to `path`, in the run directory `inside`.

    weights: the file that the trial left. result: the trial's. metrics: the numbers to store. provisional:
    whether the network is a candidate of the search, which trains only the best few in full later.
    """
    trained = Weights.read(weights)
    arch, config = with_own_settings(composition.space.parse(result.arch), composition.config)
    TrainedNetwork(
        path=path,
        arch=str(arch),
        task=composition.task,
        config=config.to_dict(),
        adaptive=composition.adaptive,
        parameters=trained.parameters,
        statistics=trained.statistics,
        preprocessing=composition.dataset.preprocessing,
        data=composition.data or {},
        provisional=provisional,
        iterations=result.iterations,
        metrics=metrics,
        trust=composition.config.trust,
    ).save(inside=inside)


def keep_front(directory: RunDirectory, trials: Collection[int]) -> None:
    """Deletes the checkpoints of trials that are no longer on the Pareto front, whose `trials` are given."""
    for path in directory.pareto.glob("*.pt"):
        if path.stem.isdecimal() and int(path.stem) not in trials:  # other files are not ours
            files.remove(path, inside=directory.path)


def save_summary(directory: RunDirectory, summary: dict[str, Any]) -> int:
    """Writes summary.json and returns its CRC-32."""
    text = json.dumps(summary, indent=2).encode() + b"\n"
    files.write_atomically(directory.summary, text, inside=directory.path)
    return zlib.crc32(text)


def stored_summary(
    directory: RunDirectory, lines: Sequence[Record], *, trained: bool
) -> dict[str, Any] | None:
    """The summary of a run that has ended; None if it has not, or if its files have to be made again.

    lines: those of the run's journal. trained: whether the run also has to have a readable best.pt.
    """
    tested = [r for r in lines if r["event"] == "tested"]
    if not tested:
        return None
    try:
        summary = summary_file.checked(directory.summary, tested[-1].get("checksum"))
        if trained:
            TrainedNetwork.load(directory.path, trusted=False)
    except CheckpointError as error:
        log.warning("%s; made again", error)
    except (OSError, ValueError) as error:
        log.warning("%s: missing or damaged (%s); made again", directory.summary, error)
    else:
        return summary
    return None
