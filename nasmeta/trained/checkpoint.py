"""A checkpoint that a user names: read, changed by overrides, and with the data that it was trained on."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from nasmeta.config.schema import Config, needs_trust, resolve
from nasmeta.config.shipped import closest
from nasmeta.datasets import contents
from nasmeta.datasets.base import Dataset
from nasmeta.errors import CheckpointError, DataError, UserError
from nasmeta.meta_learners.base import MetaLearner, adopt_population
from nasmeta.meta_learners.state import MetaState
from nasmeta.run.directory import RunDirectory
from nasmeta.run.manifest import MANIFEST
from nasmeta.runtime.command_lines import command_line
from nasmeta.task import Split
from nasmeta.training.meta_training import population_batches
from nasmeta.training.problem import episodes
from nasmeta.training.trained_network import TrainedNetwork

log = logging.getLogger(__name__)

USED = ("search_space", "meta_learner", "dataset", "optimizer", "augment")
"""The groups of a configuration that a meta-test or another training of the network builds."""

TRAIN: tuple[Split, ...] = ("train",)


def load_network(path: Path, *, trusted: bool) -> TrainedNetwork:
    """Reads a best.pt, or that of a run directory. Raises CheckpointError, which says why there is none."""
    if path.is_dir() and not (path / "best.pt").exists():
        raise CheckpointError(_missing(path, trusted))
    return TrainedNetwork.load(path, trusted=trusted)


def _missing(folder: Path, trusted: bool) -> str:
    """Why a folder has no best.pt, and what to do."""
    directory = RunDirectory(folder)
    if (folder / MANIFEST).exists():
        return f"{folder}: is a sweep; name one of its jobs: {folder / '0'}, ..."
    if not directory.config.is_file():
        return f"{folder}: holds no best.pt; name a checkpoint, or the directory of a run"
    evaluator = directory.load_config().get("evaluator")
    target = evaluator.get("_target_") if isinstance(evaluator, dict) else evaluator
    if not resolve("evaluator", target, trusted=trusted).trains_networks():
        name = closest("evaluator", {"_target_": target}) or target
        return (
            f"{directory.best}: there is none: evaluator={name} looks up accuracies and trains no network; "
            f"they are in {directory.summary}; train an architecture by its string: nasmeta train ARCH ..."
        )
    return f"{directory.best}: there is none yet; resume the run with: {command_line('resume', folder)}"


def warn_if_provisional(network: TrainedNetwork) -> None:
    """Warns if the network is not trained in full yet, with the command that does that."""
    if not network.provisional:
        return
    run, ending = RunDirectory(network.path.parent), ""
    if network.path == run.best and run.journal.is_file():
        resume = command_line("resume", run.path, trusted=needs_trust(network.config))
        ending = f"; its run has not ended, resume with: {resume}"
    log.warning(
        "%s: provisional: a candidate of the search, after %d meta-iterations and not yet trained in full%s",
        network.path,
        network.iterations,
        ending,
    )


def configured(network: TrainedNetwork, overrides: list[str]) -> Config:
    """The network's configuration with overrides, of which only what is used or typed is checked.

    Run-wide keys that are newer than the checkpoint have their usual values. Raises ConfigError.
    """
    from nasmeta.config.overrides import reconfigured, with_todays_keys

    stored = with_todays_keys(network.config)
    return reconfigured(stored, overrides, trusted=network.trust.everything, groups=USED)


def dataset(
    network: TrainedNetwork, config: Config, splits: Collection[Split], *, divided_anew: bool = False
) -> Dataset:
    """The configuration's dataset, whose `splits` are read in the form that the network needs.

    Classes stay in the splits that they were in when the network was trained, unless `divided_anew`.
    """
    known = {} if divided_anew else network.data
    built: Dataset = config.build("dataset", shot=config.keys.task.shot)
    return built.as_trained(known, network.preprocessing, splits)


def own_data(network: TrainedNetwork, configs: Sequence[Config], splits: Collection[Split]) -> Dataset:
    """The first dataset of `configs` whose `splits` hold what the network was trained with.

    Raises DataError if there is none, which says why the last one does not fit.
    """
    reason = ""
    for number, config in enumerate(configs):
        if any(config.groups["dataset"] == other.groups["dataset"] for other in configs[:number]):
            continue
        try:
            found = dataset(network, config, splits)
            changed = contents.changes(network.data, {split: found.contents(split) for split in splits})
        except UserError as error:
            reason = str(error)
            continue
        if not changed:
            return found
        reason = "; ".join(f"{split}: {text}" for split, text in changed.items())
    raise DataError(f"{network.path}: the data that it was meta-trained on is not available ({reason})")


def adopt_training_population(
    network: TrainedNetwork, learner: MetaLearner, state: MetaState, config: Config
) -> None:
    """Computes the population statistics that a training with `batch_norm: running` would have ended with.

    `network` is the stored one. Does nothing if `learner` needs none. Raises CheckpointError unless the
    training data is where `config` or the stored configuration says.
    """
    if not learner.lacks_population(state):
        return
    own = configured(network, [])
    try:
        data = own_data(network, [config, own], TRAIN)
        train = episodes(own, data, learner, "train", state.device, own.keys.seed)
    except UserError as error:
        raise CheckpointError(
            f"batch_norm: running needs population statistics, and this network was meta-trained with "
            f"batch_norm={own.keys.batch_norm}; they cannot be computed: {error}"
        ) from error
    batches = population_batches(train, network.iterations, own.keys.task.meta_batch)
    adopt_population(learner, state, batches)
