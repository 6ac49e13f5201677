"""Meta-tests a checkpoint: `nasmeta evaluate`."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nasmeta.config.overrides import overridden
from nasmeta.config.schema import Config, buildable
from nasmeta.datasets import contents
from nasmeta.datasets.base import Dataset, EpisodeSampler
from nasmeta.datasets.contents import SplitContents
from nasmeta.errors import CheckpointError, ConfigError, DataError, RunFailed
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.execution import check
from nasmeta.runtime.command_lines import key_of, values_of
from nasmeta.runtime.device import pick
from nasmeta.task import Split, TaskSpec
from nasmeta.trained.checkpoint import (
    adopt_training_population,
    configured,
    dataset,
    load_network,
    warn_if_provisional,
)
from nasmeta.trained.ready import FOLDER
from nasmeta.training.calibration import Tasks, measured
from nasmeta.training.problem import episodes, execution
from nasmeta.training.score import Score, Stop, score
from nasmeta.training.trained_network import TrainedNetwork

log = logging.getLogger(__name__)

TEST: tuple[Split, ...] = ("test",)

DIVISION = {"dataset.valid_fraction", "dataset.test_fraction", "dataset.seed"}
"""Overrides that ask for another division of the classes into splits than the checkpoint's own."""


@dataclass(frozen=True)
class MetaTest:
    """A checkpoint and the meta-test tasks that overrides ask for, by default its own.

    stored: the network as it is stored. config: its configuration with the overrides. learner: the
    meta-learner of that configuration. dataset: of which only the test split is read. seen: the test classes
    that the checkpoint was meta-trained on. changed: how its test split has changed since the network was
    trained; None if it has not, or if overrides ask for another dataset.
    """

    stored: TrainedNetwork
    config: Config
    learner: MetaLearner
    dataset: Dataset
    state: MetaState
    seen: tuple[str, ...]
    changed: str | None

    @classmethod
    def of(cls, path: Path, overrides: list[str], *, trusted: bool) -> "MetaTest":
        """Loads the checkpoint at `path` and reads the images of the test split only.

        Raises CheckpointError, ConfigError or DataError.
        """
        stored = load_network(path, trusted=trusted)
        typed = {key_of(override) for override in overrides}
        config = configured(stored, [*overrides, *_implied(stored, overrides, typed)])
        keys = config.keys
        network = stored.changed(config)
        device = pick(keys.device, keys.precision)
        check(execution(keys), device, network.learner.second_order)
        try:
            data = buildable(lambda: dataset(stored, config, TEST, divided_anew=bool(typed & DIVISION)))
            _check_task(stored.path, stored.task, data, way=keys.task.way)
            data.check_episodes("test", way=keys.task.way, shot=keys.task.shot)
            now = data.contents("test")
        except DataError as error:
            raise DataError(f"{error}{_advice(stored.path, overrides, typed)}") from error
        state = network.state(device, execution(keys))
        adopt_training_population(stored, network.learner, state, config)
        if data.kind == "classification":
            state = network.learner.with_num_classes(state, keys.task.way)
        known = set(stored.data["train"].classes)
        seen = tuple(name for name in now.classes if name in known)
        own = not any(key.split(".")[0] == "dataset" for key in typed - {"dataset.root"})
        changed = _changed(stored, config, now, shot_is_typed="task.shot" in typed) if own else None
        return cls(stored, config, network.learner, data, state, seen, changed)

    def calibrated_network(self) -> TrainedNetwork:
        """The stored network; if this learner answers otherwise, without calibration and with a warning."""
        own = configured(self.stored, [])
        alike = own.groups["meta_learner"] == self.config.groups["meta_learner"]
        if self.stored.calibration is None or (alike and own.keys.batch_norm == self.config.keys.batch_norm):
            return self.stored
        log.warning(
            "probabilities and unknown classes are not calibrated: %s was, by other settings of its learner",
            self.stored.path,
        )
        return replace(self.stored, calibration=None)

    def sampler(self) -> EpisodeSampler:
        """The meta-test tasks."""
        seed = self.config.keys.seed
        return episodes(self.config, self.dataset, self.learner, "test", self.state.device, seed)

    def score(self, state: MetaState, stop: Stop = lambda: False) -> Score:
        """The score of a network on these tasks. Raises RunFailed if it is not finite."""
        tested = score(self.learner, state, self.sampler(), self.config.keys.budget.test_tasks, stop=stop)
        if not math.isfinite(tested.value):
            raise RunFailed(f"{self.stored.path}: the loss on meta-test tasks is not finite")
        return tested

    def calibrated(self, tested: Score) -> dict[str, Any] | None:
        """How well the checkpoint's calibration fits these tasks, on which it has the given score."""
        tasks = Tasks(self.learner, self.state, self.sampler(), lambda: False)
        return measured(self.calibrated_network().calibration, tasks, tested)

    def warn(self) -> None:
        """Logs why the result may not be comparable with one on unseen classes, or with the run's own."""
        task = self.config.keys.task
        for notice in self.dataset.notices(way=task.way, shot=task.shot, query=task.query, splits=TEST):
            log.warning("%s", notice)
        warn_if_provisional(self.stored)
        if self.seen:
            log.warning(
                "%d of the test classes were meta-trained on, so this is not an accuracy on new classes: %s",
                len(self.seen),
                contents.few(self.seen),
            )
        if self.changed is not None:
            log.warning("the test split differs from that of the network's own run: %s", self.changed)


def _check_task(path: Path, task: TaskSpec, data: Dataset, *, way: int) -> None:
    """Raises an error if the dataset gives other tasks than the network at `path` takes."""
    if data.kind == "classification" and way < 2:
        raise ConfigError("task.way=1: a task needs at least 2 classes")
    if (data.input_shape, data.kind) != (task.input_shape, task.kind):
        raise CheckpointError(
            f"{path}: was meta-learned on {task.kind} of inputs {list(task.input_shape)}, the dataset gives "
            f"{data.kind} of {list(data.input_shape)}: set dataset.size and dataset.channels"
        )


def _changed(
    network: TrainedNetwork, config: Config, now: SplitContents, *, shot_is_typed: bool
) -> str | None:
    """How the test split has changed since the training; None if it has not.

    A dataset leaves out classes that are too small for `task.shot`, so it is compared at the stored shot.
    """
    if shot_is_typed:
        shot = configured(network, []).keys.task.shot
        data: Dataset = config.build("dataset", shot=shot)
        now = data.as_trained(network.data, network.preprocessing, TEST).contents("test")
    return contents.changes(network.data, {"test": now}).get("test")


def _implied(network: TrainedNetwork, overrides: list[str], typed: set[str]) -> list[str]:
    """The overrides that follow from the typed ones: another dataset gets the checkpoint's image size."""
    stored = network.config.get("dataset")
    if "dataset" not in typed:
        if "dataset.root" not in typed or not isinstance(stored, Mapping):
            return []
        if "root" not in stored:
            raise ConfigError(
                f"dataset.root: the checkpoint's dataset, {stored.get('_target_')}, is in no folder"
                f"{_advice(network.path, overrides, typed)}"
            )
        return ["dataset.download=false"] if "download" in stored and "dataset.download" not in typed else []
    options = overridden(network.config, overrides)["dataset"]
    sizes = dict(zip(("channels", "size"), network.task.input_shape[:2], strict=False))
    return [
        f"dataset.{key}={value}"
        for key, value in sizes.items()
        if isinstance(options, Mapping) and key in options and f"dataset.{key}" not in typed
    ]


def _advice(path: Path, overrides: list[str], typed: set[str]) -> str:
    """The end of a message: what to type for one's own images, if only their folder was named, or nothing."""
    if path.parent == FOLDER and not typed & {"dataset", "dataset.root"}:
        return f"; the images of {path.stem} are not in the package, so name yours: dataset.root=FOLDER"
    if "dataset" in typed or "dataset.root" not in typed:
        return ""
    root = values_of(overrides)["dataset.root"]
    return f"; for a folder of images type: dataset=image_folder dataset.root={root}"


def meta_test(path: Path, overrides: list[str], *, trusted: bool) -> dict[str, Any]:
    """Adapts the checkpoint to its meta-test tasks, or to those that the overrides ask for.

    Returns accuracy (a fraction, None for regression), ci95, loss (None if it is not finite), tasks, way,
    shot, query, batch_norm, calibration (as in summary.json), arch, checkpoint, provisional, and
    seen_classes and data_changed (see MetaTest), of which it also warns. Without overrides, the numbers
    equal those in summary.json exactly.
    """
    test = MetaTest.of(path, overrides, trusted=trusted)
    test.warn()
    task, tested = test.config.keys.task, test.score(test.state)
    return {
        "accuracy": tested.accuracy,
        "ci95": tested.ci95,
        "loss": tested.loss if math.isfinite(tested.loss) else None,
        "tasks": tested.tasks,
        "way": task.way,
        "shot": task.shot,
        "query": test.dataset.queries("test", shot=task.shot, query=task.query),
        "batch_norm": test.config.keys.batch_norm,
        "calibration": test.calibrated(tested),
        "arch": test.stored.arch,
        "checkpoint": str(test.stored.path),
        "provisional": test.stored.provisional,
        "seen_classes": list(test.seen),
        "data_changed": test.changed,
    }
