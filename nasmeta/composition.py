"""From a checked configuration to the objects of a run, with the checks that need several of them."""

from dataclasses import dataclass
from typing import Any

import torch

from nasmeta.config import Config
from nasmeta.datasets.base import Dataset, EpisodeSampler
from nasmeta.device import pick
from nasmeta.errors import ConfigError
from nasmeta.evaluators.problem import Problem
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.task import SPLITS, Split, TaskSpec


@dataclass(frozen=True)
class Composition:
    """What a configuration composes, checked; making one loads no data."""

    config: Config
    device: torch.device
    dataset: Dataset
    learner: MetaLearner
    space: Any
    task: TaskSpec

    @classmethod
    def of(cls, config: Config) -> "Composition":
        """Builds and checks; raises ConfigError where parts do not fit, in a second or two."""
        keys = config.keys
        dataset: Dataset = config.build("dataset")
        learner: MetaLearner = config.build("meta_learner", batch_norm=keys.batch_norm)
        task = dataset.task_spec(keys.task.way)
        learner.check(task)
        for split in SPLITS:
            _check_episodes(dataset, split, config, learner)
        return cls(config, pick(keys.device), dataset, learner, config.build("search_space"), task)

    def sampler(self, split: Split) -> EpisodeSampler:
        """The split's episodes; training episodes may have another way, where the learner wants it."""
        task = self.config.keys.task
        way = self.learner.train_way if split == "train" and self.learner.train_way else task.way
        return self.dataset.sampler(
            split,
            way=way,
            shot=task.shot,
            query=task.query,
            seed=self.config.keys.seed,
            device=self.device,
        )

    def problem(self) -> Problem:
        """Loads the data that a search sees."""
        keys = self.config.keys
        return Problem(
            space=self.space,
            learner=self.learner,
            optimizer=self.config.build("optimizer"),
            task=self.task,
            train=self.sampler("train"),
            valid=self.sampler("valid"),
            valid_tasks=keys.budget.valid_tasks,
            meta_batch=keys.task.meta_batch,
            seed=keys.seed,
            device=self.device,
            save_seconds=keys.save_seconds,
        )


def _check_episodes(dataset: Dataset, split: Split, config: Config, learner: MetaLearner) -> None:
    """Raises ConfigError where a split is too small for the episodes that are asked of it."""
    task = config.keys.task
    classes, examples = dataset.num_classes(split), dataset.examples_per_class(split)
    way, key = task.way, "task.way"
    if split == "train" and learner.train_way:
        way, key = learner.train_way, "meta_learner.train_way"
    if classes is not None and way > classes:
        raise ConfigError(f"{key}: {way} classes an episode, but the {split} split has {classes}")
    if classes is not None and way < 2:
        raise ConfigError(f"{key}: {way} class an episode leaves nothing to tell apart; at least 2")
    if examples is not None and task.shot + task.query > examples:
        raise ConfigError(
            f"task.shot + task.query: {task.shot} + {task.query} images of a class, but a class of the "
            f"{split} split has {examples}; lower task.query to at most {max(examples - task.shot, 0)}"
        )
