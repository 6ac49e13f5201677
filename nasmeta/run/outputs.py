"""The networks that a run leaves for its user: best.pt, and the checkpoints of the Pareto front."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from nasmeta.config.tuning import with_own_settings
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.summary import metrics
from nasmeta.runtime import files
from nasmeta.training.calibration import Calibration
from nasmeta.training.trained_network import TrainedNetwork
from nasmeta.training.weights import Weights
from nasmeta.trial import TrialResult


def save_network(
    composition: Composition,
    path: Path,
    weights: Path,
    result: TrialResult,
    *,
    tested: dict[str, Any] | None = None,
    calibration: Calibration | None = None,
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
        calibration=calibration,
        iterations=result.iterations,
        metrics={**metrics(result), **(tested or {})},
        trust=composition.config.trust,
    ).save(inside=inside)


def keep_front(directory: RunDirectory, trials: Collection[int]) -> None:
    """Deletes the checkpoints of trials that are no longer on the Pareto front, whose `trials` are given."""
    for path in directory.pareto.glob("*.pt"):
        if path.stem.isdecimal() and int(path.stem) not in trials:  # other files are not ours
            files.remove(path, inside=directory.path)


def keep_earlier(directory: RunDirectory, end: int) -> None:
    """Copies the result with which the run ended for the `end`-th time to a folder of its own, once."""
    place = directory.earlier(end)
    if (place / directory.summary.name).is_file():
        return
    front = sorted(directory.pareto.glob("*.pt"))
    for folder in (place.parent, place, *([place / directory.pareto.name] if front else [])):
        files.make_folder(folder, inside=directory.path)
    for path in (*front, directory.best, directory.summary):  # the summary last: it says that all are there
        if path.is_file():
            data = files.read_bytes(path, files.MAX_TENSORS, inside=directory.path)
            copy = place / path.relative_to(directory.path)
            files.write_atomically(copy, data, inside=directory.path)
