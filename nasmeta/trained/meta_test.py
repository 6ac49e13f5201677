"""Meta-tests a checkpoint: `nasmeta evaluate`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasmeta.config.overrides import overridden
from nasmeta.datasets import contents
from nasmeta.errors import ConfigError, DataError
from nasmeta.meta_learners.base import MetaState
from nasmeta.run.composition import Composition
from nasmeta.task import Split
from nasmeta.trained.trained_network import Trained, restore
from nasmeta.training.score import score

log = logging.getLogger(__name__)

TEST: tuple[Split, ...] = ("test",)

DIVISION = {"dataset.valid_fraction", "dataset.test_fraction", "dataset.seed"}
"""Overrides that ask for another division of the classes into splits than the checkpoint's own."""


@dataclass(frozen=True)
class MetaTest:
    """A checkpoint and the meta-test tasks that overrides ask for, by default its own.

    seen: the test classes that the checkpoint was meta-trained on. changed: how its test split has changed
    since the network was trained; None if it has not, or if overrides ask for another dataset.
    """

    trained: Trained
    composition: Composition
    state: MetaState
    seen: tuple[str, ...]
    changed: str | None

    @classmethod
    def of(cls, path: Path, overrides: list[str], *, trusted: bool) -> "MetaTest":
        """Loads the checkpoint at `path` and reads the images of the test split only.

        Raises CheckpointError, ConfigError or DataError.
        """
        trained = Trained.load(path, trusted=trusted)
        typed = {override.partition("=")[0].lstrip("+") for override in overrides}
        config = trained.configured([*overrides, *_implied(trained, overrides, typed)])
        try:
            dataset = trained.dataset(config, TEST, divided_anew=bool(typed & DIVISION))
            composition = Composition.of(config, dataset)
        except DataError as error:
            raise DataError(f"{error}{_advice(overrides, typed)}") from error
        state = restore(trained, composition)
        now = dataset.contents("test")
        known = set(trained.data["train"].classes)
        own = not any(key.split(".")[0] == "dataset" for key in typed)
        changed = contents.changes(trained.data, {"test": now}) if own else {}
        seen = tuple(name for name in now.classes if name in known)
        return cls(trained, composition, state, seen, changed.get("test"))

    def warn(self) -> None:
        """Logs why the result may not be comparable with one on unseen classes, or with the run's own."""
        self.composition.log_notices()
        self.trained.warn_if_provisional()
        if self.seen:
            log.warning(
                "%d of the test classes were meta-trained on, so this is not an accuracy on new classes: %s",
                len(self.seen),
                contents.few(self.seen),
            )
        if self.changed is not None:
            log.warning("the test split has changed since the network was trained: %s", self.changed)


def _implied(trained: Trained, overrides: list[str], typed: set[str]) -> list[str]:
    """The overrides that follow from the typed ones: another dataset gets the checkpoint's image size."""
    stored = trained.saved["config"].get("dataset")
    if "dataset" not in typed:
        if "dataset.root" not in typed or not isinstance(stored, Mapping):
            return []
        if "root" not in stored:
            raise ConfigError(
                f"dataset.root: the checkpoint's dataset, {stored.get('_target_')}, is in no folder"
                f"{_advice(overrides, typed)}"
            )
        return ["dataset.download=false"] if "download" in stored and "dataset.download" not in typed else []
    options = overridden(trained.saved["config"], overrides)["dataset"]
    sizes = dict(zip(("channels", "size"), trained.task.input_shape[:2], strict=False))
    return [
        f"dataset.{key}={value}"
        for key, value in sizes.items()
        if isinstance(options, Mapping) and key in options and f"dataset.{key}" not in typed
    ]


def _advice(overrides: list[str], typed: set[str]) -> str:
    """The end of a message: what to type for one's own images, if only their folder was named."""
    if "dataset" in typed or "dataset.root" not in typed:
        return ""
    root = next(o for o in overrides if o.partition("=")[0].lstrip("+") == "dataset.root")
    return f"; for a folder of images type: dataset=image_folder {root.lstrip('+')}"


def meta_test(path: Path, overrides: list[str], *, trusted: bool) -> dict[str, Any]:
    """Adapts the checkpoint to its meta-test tasks, or to those that the overrides ask for.

    Returns accuracy (a fraction, None for regression), ci95, loss, tasks, way, shot, query, batch_norm, arch,
    checkpoint, provisional, and seen_classes and data_changed (see MetaTest), of which it also warns. Without
    overrides, the numbers equal those in summary.json exactly.
    """
    test = MetaTest.of(path, overrides, trusted=trusted)
    test.warn()
    composition, keys = test.composition, test.composition.config.keys
    tested = score(composition.learner, test.state, composition.sampler("test"), keys.budget.test_tasks)
    return {
        "accuracy": tested.accuracy,
        "ci95": tested.ci95,
        "loss": tested.loss,
        "tasks": tested.tasks,
        "way": keys.task.way,
        "shot": keys.task.shot,
        "query": composition.queries("test"),
        "batch_norm": keys.batch_norm,
        "arch": test.trained.saved["arch"],
        "checkpoint": str(test.trained.path),
        "provisional": test.trained.provisional,
        "seen_classes": list(test.seen),
        "data_changed": test.changed,
    }
