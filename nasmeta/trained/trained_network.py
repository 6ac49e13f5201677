"""Reads the network in a best.pt, and what is known of the data that it was meta-trained on."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nasmeta.config.overrides import reconfigured
from nasmeta.config.schema import Config, needs_trust, resolve
from nasmeta.datasets import contents
from nasmeta.datasets.base import Dataset
from nasmeta.datasets.contents import Contents
from nasmeta.datasets.decode import Preprocessing
from nasmeta.datasets.part import PartOfDataset
from nasmeta.errors import CheckpointError, DataError, UserError
from nasmeta.meta_learners.base import MetaLearner, MetaState, adopt_population
from nasmeta.networks.cost import measure_cost
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.runtime.command_lines import command_line
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.task import SPLITS, Split, TaskSpec
from nasmeta.training import checkpoint
from nasmeta.training.meta_training import population_batches
from nasmeta.training.problem import new_state

log = logging.getLogger(__name__)

TRAIN: tuple[Split, ...] = ("train",)

SLACK = 10_000_000
"""How many parameters (40 MB) a network may have that are not stored, such as a head that is not used."""


@dataclass(frozen=True)
class Trained:
    """A checkpoint that has been read and checked.

    saved: its content. task: the tasks that it was meta-trained for. data: what is known of its dataset's
    splits. preprocessing: how its images were prepared; None if it was not trained on images. trusted:
    whether it may name code outside nasmeta.
    """

    path: Path
    saved: dict[str, Any]
    task: TaskSpec
    data: Contents
    preprocessing: Preprocessing | None
    trusted: bool

    @classmethod
    def load(cls, path: Path, *, trusted: bool) -> "Trained":
        """Reads a best.pt, or that of a run directory. Raises CheckpointError."""
        path, saved = load(path, trusted=trusted)
        task = checkpoint.task_spec(saved)
        return cls(path, saved, task, _data(path, saved), stored_preprocessing(path, saved, task), trusted)

    @property
    def provisional(self) -> bool:
        """Whether the network is a candidate of a search, which trains only the best few in full later."""
        return bool(self.saved["provisional"])

    def warn_if_provisional(self) -> None:
        """Warns if the network is not trained in full yet, with the command that does that."""
        if not self.provisional:
            return
        run, ending = RunDirectory(self.path.parent), ""
        if self.path == run.best and run.journal.is_file():
            resume = command_line("resume", run.path, trusted=needs_trust(self.saved["config"]))
            ending = f"; its run has not ended, resume with: {resume}"
        log.warning(
            "%s: provisional: a candidate of the search, trained for %d of %d meta-iterations%s",
            self.path,
            self.saved["iterations"],
            self.configured([]).keys.budget.final_iterations,
            ending,
        )

    def configured(self, overrides: list[str]) -> Config:
        """The stored configuration with overrides applied and checked; raises ConfigError."""
        return reconfigured(self.saved["config"], overrides, trusted=self.trusted)

    def dataset(self, config: Config, splits: Collection[Split], *, divided_anew: bool = False) -> Dataset:
        """The configuration's dataset, whose `splits` are read in the form that this network needs.

        Classes stay in the splits that they were in when the network was trained, unless `divided_anew`.
        """
        known = {} if divided_anew else self.data
        dataset: Dataset = config.build("dataset", shot=config.keys.task.shot)
        return PartOfDataset(self.task, dataset.as_trained(known, self.preprocessing, splits), splits)

    def own_data(self, configs: Sequence[Config], splits: Collection[Split]) -> Dataset:
        """The first dataset of `configs` whose `splits` hold what this network was trained with.

        Raises DataError if there is none, which says why the last one does not fit.
        """
        reason = ""
        for number, config in enumerate(configs):
            if any(config.groups["dataset"] == other.groups["dataset"] for other in configs[:number]):
                continue
            try:
                dataset = self.dataset(config, splits)
                found = {split: dataset.contents(split) for split in splits}
            except UserError as error:
                reason = str(error)
                continue
            changed = contents.changes(self.data, found)
            if not changed:
                return dataset
            reason = "; ".join(f"{split}: {text}" for split, text in changed.items())
        raise DataError(f"{self.path}: the data that it was meta-trained on is not at hand ({reason})")


def load(path: Path, *, trusted: bool) -> tuple[Path, dict[str, Any]]:
    """The file and the contents of a checkpoint. `path` is a best.pt or a run directory.

    Raises CheckpointError.
    """
    file = path / "best.pt" if path.is_dir() else path
    _check_trained(file, trusted=trusted)
    return file, checkpoint.load_best(path)


def _check_trained(path: Path, *, trusted: bool) -> None:
    """Raises CheckpointError if `path` does not exist because its run's evaluator trains no network."""
    directory = RunDirectory(path.parent)
    if path.exists() or not directory.config.is_file():
        return
    evaluator = directory.load_config().get("evaluator")
    target = evaluator.get("_target_") if isinstance(evaluator, dict) else evaluator
    if not resolve("evaluator", target, trusted=trusted).trains_networks():
        raise CheckpointError(
            f"{path}: there is none: the run's evaluator, {target}, looks accuracies up and trains no "
            f"network; they are in {directory.summary}"
        )


def _data(path: Path, saved: dict[str, Any]) -> Contents:
    try:
        data = contents.read(saved["data"])
    except ValueError as error:
        raise CheckpointError(f"{path}: what it says of its data is damaged: {error}") from error
    missing = [split for split in SPLITS if split not in data]
    if missing:
        raise CheckpointError(f"{path}: no nasmeta checkpoint: it lacks data.{missing[0]}")
    return data


def stored_preprocessing(path: Path, saved: dict[str, Any], task: TaskSpec) -> Preprocessing | None:
    """How images were prepared for the network; None if it was not trained on images.

    Raises CheckpointError if that is damaged or does not fit the task.
    """
    stored = saved.get("preprocessing")
    if stored is None:
        return None
    try:
        preprocessing = TypeAdapter(Preprocessing).validate_python(stored)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise CheckpointError(f"{path}: its preprocessing is damaged: {problem['msg']}") from error
    channels, size = preprocessing.channels, preprocessing.size
    moments = len(preprocessing.mean) == len(preprocessing.std) == channels and all(preprocessing.std)
    if task.input_shape != (channels, size, size) or channels not in (1, 3) or not moments:
        raise CheckpointError(f"{path}: its preprocessing gives other images than its network takes")
    return preprocessing


def restore(trained: Trained, composition: Composition) -> MetaState:
    """The meta-learned state of a checkpoint, on the composition's device and for its tasks.

    A network that was trained under another policy lacks the population statistics that `batch_norm: running`
    needs. They are then computed as at the end of a training. Raises CheckpointError.
    """
    path, saved = trained.path, trained.saved
    arch = composition.space.parse(saved["arch"])
    spec, learner = composition.task, composition.learner
    if spec.input_shape != trained.task.input_shape or spec.kind != trained.task.kind:
        raise CheckpointError(
            f"{path}: was meta-learned on {trained.task.kind} of inputs {list(trained.task.input_shape)}, "
            f"the dataset gives {spec.kind} of {list(spec.input_shape)}: "
            "set dataset.size and dataset.channels"
        )
    checkpoint.fits(path, lambda s: _check_size(trained, composition.space, arch), saved)
    state = new_state(
        composition.space,
        arch,
        learner,
        trained.task,
        composition.config.keys.seed,
        composition.device,
        composition.execution,
    )
    checkpoint.fits(path, lambda s: state.load(s["parameters"], s["statistics"]), saved)
    if learner.lacks_population(state):
        adopt_training_population(trained, learner, state, composition.config)
    return learner.with_num_classes(state, spec.outputs)


def _check_size(trained: Trained, space: SearchSpace[Any], arch: Any) -> None:
    """Raises CheckpointError if the network is much larger than what is stored: building it takes memory."""
    stored = sum(value.numel() for value in trained.saved["parameters"].values())
    params = measure_cost(space, arch, trained.task).params
    if params > stored + SLACK:
        raise CheckpointError(
            f"{trained.path}: does not fit its own architecture: {params} parameters, and {stored} are stored"
        )


def adopt_training_population(
    trained: Trained, learner: MetaLearner, state: MetaState, config: Config
) -> None:
    """Computes the population statistics that a training with `batch_norm: running` would have ended with.

    Raises CheckpointError unless the training data is where `config` or the checkpoint's configuration says.
    """
    own = trained.configured([])
    keys = own.keys
    try:
        train = trained.own_data([config, own], TRAIN).sampler(
            "train",
            way=learner.train_way or keys.task.way,
            shot=keys.task.shot,
            query=keys.task.query,
            seed=keys.seed,
            device=next(iter(state.parameters.values())).device,
        )
    except UserError as error:
        raise CheckpointError(
            f"batch_norm: running needs population statistics, and this network was meta-trained with "
            f"batch_norm={keys.batch_norm}; they cannot be computed: {error}"
        ) from error
    batches = population_batches(train, keys.budget.final_iterations, keys.task.meta_batch)
    adopt_population(learner, state, batches)
