"""The files that a run leaves for its user: best.pt, checkpoints of the Pareto front, summary.json."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from nasmeta.config.tuning import with_own_settings
from nasmeta.errors import CheckpointError
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.records import Tested
from nasmeta.run.summary import Summary, metrics
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
    *,
    tested: dict[str, Any] | None = None,
    inside: Path,
) -> None:
    """Writes a checkpoint that `nasmeta evaluate` reads to `path`, in the run directory `inside`.

    weights: the file that the trial left. result: the trial's. tested: the numbers of its meta-test;
    without them the network is provisional: a candidate of the search, which trains the best few in full.
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
        provisional=tested is None,
        iterations=result.iterations,
        metrics={**metrics(result), **(tested or {})},
        trust=composition.config.trust,
    ).save(inside=inside)


def keep_front(directory: RunDirectory, trials: Collection[int]) -> None:
    """Deletes the checkpoints of trials that are no longer on the Pareto front, whose `trials` are given."""
    for path in directory.pareto.glob("*.pt"):
        if path.stem.isdecimal() and int(path.stem) not in trials:  # other files are not ours
            files.remove(path, inside=directory.path)


def stored_summary(directory: RunDirectory, tested: Tested | None, *, trained: bool) -> Summary | None:
    """The summary of a run that has ended; None if it has not, or if its files have to be made again.

    tested: the event of its meta-test, if it has one. trained: whether the run must also have a readable
    best.pt.
    """
    if tested is None:
        return None
    try:
        summary = Summary.read(directory.summary, tested.checksum)
        if trained:
            TrainedNetwork.load(directory.path, trusted=False)
    except CheckpointError as error:
        log.warning("%s; made again", error)
    except (OSError, ValueError) as error:
        log.warning("%s: missing or damaged (%s); made again", directory.summary, error)
    else:
        return summary
    return None
