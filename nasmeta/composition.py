"""From a checked configuration to the objects of a run, with the checks that need several of them."""

from dataclasses import dataclass
from typing import Any

import torch

from nasmeta.config import Config
from nasmeta.datasets.base import Dataset, EpisodeSampler
from nasmeta.device import pick
from nasmeta.errors import ConfigError
from nasmeta.evaluators.cost import measure_cost
from nasmeta.evaluators.problem import Problem
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.execution import Execution, check
from nasmeta.strategies.base import Feasible, Strategy
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
        if task.kind == "classification" and task.outputs < 2:
            raise ConfigError("task.way: 1 class a task leaves nothing to tell apart; at least 2")
        learner.check(task)
        for split in SPLITS:
            _check_episodes(dataset, split, config, learner)
        space = config.build("search_space")
        measure_cost(space, space.initial(), task)  # raises where the space is for other inputs
        composition = cls(config, pick(keys.device), dataset, learner, space, task)
        check(composition.execution, composition.device, learner.second_order)
        composition.strategy(lambda arch: True)
        return composition

    @property
    def execution(self) -> Execution:
        """How a meta-step's arithmetic is carried out."""
        keys = self.config.keys
        return Execution(keys.task_parallel, keys.task_chunk, keys.compile, keys.precision)

    def strategy(self, feasible: Feasible) -> Strategy:
        """The search's strategy, before its first ask."""
        keys = self.config.keys
        strategy: Strategy = self.config.build(
            "strategy",
            space=self.space,
            seed=keys.seed,
            trials=keys.budget.trials,
            iterations=keys.budget.search_iterations,
            feasible=feasible,
        )
        return strategy

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
            search_iterations=keys.budget.search_iterations,
            seed=keys.seed,
            device=self.device,
            execution=self.execution,
            save_seconds=keys.save_seconds,
        )


def _check_episodes(dataset: Dataset, split: Split, config: Config, learner: MetaLearner) -> None:
    task = config.keys.task
    way, key = task.way, "task.way"
    if split == "train" and learner.train_way:
        way, key = learner.train_way, "meta_learner.train_way"
    dataset.check_episodes(split, way=way, shot=task.shot, query=task.query, way_key=key)
