"""Builds the objects of a run from a checked configuration, and checks that they fit each other."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

import nasmeta.search_spaces.conv.architecture as conv
import nasmeta.search_spaces.darts.architecture as darts
import nasmeta.search_spaces.mlp.architecture as mlp
import nasmeta.search_spaces.nasbench201.architecture as nasbench201
from nasmeta.config.keys import BudgetConfig
from nasmeta.config.schema import Config, buildable, resolve
from nasmeta.config.tuning import searched_space
from nasmeta.datasets.base import Dataset, EpisodeSampler
from nasmeta.datasets.contents import Contents
from nasmeta.errors import ConfigError, suggest
from nasmeta.evaluators.base import Evaluator
from nasmeta.evaluators.zero_cost.proxies import scorer
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.task_architecture import TaskArchitecture
from nasmeta.networks.cost import measure_cost
from nasmeta.networks.execution import Execution, check
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.run.compatible import Parts, check_compatible
from nasmeta.run.evaluators import Evaluators
from nasmeta.run.placement import check_devices, sharing
from nasmeta.run.rounds import rounds_of
from nasmeta.runtime.device import pick, warn_of_sharing
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE, with_adaptive
from nasmeta.search_spaces.relaxation.spec import Adaptation, Relaxation
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import Costs, Feasible, SearchContext
from nasmeta.strategies.progress_file import ProgressFile
from nasmeta.task import SPLITS, Split, TaskSpec
from nasmeta.training.problem import Problem, episodes, execution
from nasmeta.training.trained_network import TaskAdaptation

_log = logging.getLogger(__name__)

VOCABULARIES = (conv.VOCABULARY, darts.VOCABULARY, mlp.VOCABULARY, nasbench201.VOCABULARY)
"""The names of operations, by space; a target names those that its runtime has, also of other spaces."""


@dataclass(frozen=True)
class Composition:
    """The objects that a configuration composes, checked. Building them loads no data."""

    config: Config
    device: torch.device
    dataset: Dataset
    learner: MetaLearner
    space: Any
    task: TaskSpec
    adaptive: TaskAdaptation | None = None
    objectives: tuple[str, ...] = ()
    """The costs that the strategy trades against the score."""
    trials: int = 0
    """How many trials the search has at most; 0 if the architecture to train is given."""

    @classmethod
    def of(cls, config: Config, dataset: Dataset | None = None) -> "Composition":
        """Builds the objects in a second or two; raises ConfigError if they do not fit each other.

        `dataset` replaces that of the configuration.
        """
        return buildable(lambda: cls._of(config, dataset))

    @classmethod
    def _of(cls, config: Config, dataset: Dataset | None) -> "Composition":
        keys = config.keys
        dataset = dataset or config.build("dataset", shot=keys.task.shot)
        learner: MetaLearner = config.build("meta_learner", batch_norm=BatchNormPolicy(keys.batch_norm))
        task = dataset.task_spec(keys.task.way)
        if task.kind == "classification" and task.outputs < 2:
            raise ConfigError("task.way=1: a task needs at least 2 classes")
        learner.check(task)
        augment = config.build("augment")
        augment.check(task)
        if augment.makes_classes and learner.batches_tasks:
            raise ConfigError(
                "augment.quarter_turns: a turned class is a new one, and this meta_learner has labels for "
                "training classes alone; use augment.quarter_turns=false, or meta_learner=protonet"
            )
        for split in SPLITS:
            _check_episodes(dataset, split, config, learner)
        plain = config.build("search_space").with_draws_for(task, keys.constraints.limits)
        space = searched_space(config, plain)
        _check_operations(space, keys.constraints.operations)
        device = pick(keys.device, keys.precision)
        composition = cls(config, device, dataset, learner, space, task)
        check(composition.execution, composition.device, learner.second_order)
        strategy = composition.strategy(lambda arch: True)
        if strategy.relaxation is not None:
            composition = _relaxed(composition, strategy.relaxation, strategy.adaptation)
            space = composition.space
        composition = replace(composition, objectives=strategy.objectives, trials=strategy.trials)
        evaluator = composition.evaluators.for_search
        check_compatible(Parts(strategy, evaluator, config.target("executor"), learner, keys))
        for tracker in keys.logger.values():
            resolve("logger", tracker["_target_"], trusted=True).check()
        check_devices(config.groups["executor"], composition.device, keys.precision)
        if evaluator.trains_networks():
            measure_cost(space, space.initial(), task)  # raises if the space is for other inputs
        return composition

    @property
    def execution(self) -> Execution:
        """How the arithmetic of a meta-step is carried out."""
        return execution(self.config.keys)

    @property
    def measures_latency(self) -> bool:
        """Whether latency is limited or an objective."""
        limited = self.config.keys.constraints.max_latency_ms is not None
        return limited or "latency" in self.objectives

    def strategy(
        self,
        feasible: Feasible,
        progress_file: ProgressFile | None = None,
        *,
        costs: Costs | None = None,
        trials: int | None = None,
    ) -> Strategy:
        """A new strategy for the search.

        feasible: whether it may propose an architecture. progress_file: where it keeps its own training.
        costs: counts what an architecture costs. trials: how many it begins with, if not budget.trials.
        """
        keys = self.config.keys
        context = SearchContext(
            space=self.space,
            seed=keys.seed,
            trials=trials or keys.budget.trials,
            iterations=keys.budget.search_iterations,
            feasible=feasible,
            costs=costs or partial(measure_cost, self.space, task=self.task),
            proxies=partial(scorer, self.problem),
            problem=self.problem,
            progress_file=progress_file or ProgressFile(),
        )
        strategy: Strategy = self.config.build("strategy", context=context)
        return strategy

    def evaluator(self, problem: Problem) -> Evaluator:
        """A new evaluator for the search, which judges architectures on `problem`."""
        evaluator: Evaluator = self.config.build("evaluator", problem=problem, keep=None)
        return evaluator

    @cached_property
    def evaluators(self) -> Evaluators:
        """They judge the run's trials. They are made once for a command, and load their data when told to."""
        return Evaluators(self.evaluator(self.problem), self.problem, self.config.keys.budget)

    @property
    def trains_networks(self) -> bool:
        """Whether the run meta-trains any network, so needs data and has a best.pt."""
        return self.evaluators.for_search.trains_networks()

    def sampler(self, split: Split) -> EpisodeSampler:
        """The split's episodes. Training episodes are augmented, and the learner's `train_way` is theirs."""
        return episodes(self.config, self.dataset, self.learner, split, self.device, self.config.keys.seed)

    def log_notices(self) -> None:
        """Logs notices about data and budget. To be called once, in the process that runs the command."""
        task = self.config.keys.task
        for notice in self.dataset.notices(way=task.way, shot=task.shot, query=task.query):
            _log.warning("%s", notice)
        if self.trials:
            _warn_of_short_rounds(self.config.keys.budget)
        workers = sharing(self.config.groups["executor"], self.device)
        if workers > 1:
            warn_of_sharing(workers)

    @cached_property
    def data(self) -> Contents | None:
        """The contents of every split, which loads all data; None if the run trains no network."""
        if not self.trains_networks:
            return None
        return {split: self.dataset.contents(split) for split in SPLITS}

    @cached_property
    def problem(self) -> Problem:
        """The problem that the search solves. Its data is loaded when it is first used."""
        problem = Problem.of(
            self.config,
            space=self.space,
            learner=self.learner,
            task=self.task,
            dataset=self.dataset,
            device=self.device,
        )
        if self.adaptive is None:
            return problem
        whole = max(problem.search_iterations, self.config.keys.budget.final_iterations)
        return replace(problem, search_iterations=whole)  # the full training goes on from the search's


def _warn_of_short_rounds(budget: BudgetConfig) -> None:
    first, *later = rounds_of(budget)
    if later and first.iterations <= budget.search_iterations:
        _log.warning(
            "the first round of the finals trains for %d meta-iterations, a candidate for %d, so networks "
            "that learn late may be dropped; use fewer budget.final_rounds",
            first.iterations,
            budget.search_iterations,
        )


def _relaxed(plain: Composition, relaxation: Relaxation, adaptation: Adaptation | None) -> Composition:
    """The composition for a strategy with a relaxed network.

    With `adaptation`, the relaxed network itself is an architecture of the space, and the learner adapts it
    to every task. Otherwise nothing changes.
    """
    if adaptation is None:
        return plain
    learner = TaskArchitecture(plain.learner, adaptation)
    learner.check(plain.task)
    space = with_adaptive(plain.space, relaxation)
    measure_cost(space, ADAPTIVE, plain.task)  # raises if the space has no relaxed network
    return replace(plain, learner=learner, space=space, adaptive=TaskAdaptation(relaxation, adaptation))


def _check_operations(space: SearchSpace[Any], allowed: list[str] | None) -> None:
    """Raises ConfigError if there is no such operation, or if networks of the space may have others."""
    if allowed is None:
        return
    known = {*space.operations, *(name for vocabulary in VOCABULARIES for name in vocabulary)}
    unknown = next((name for name in allowed if name not in known), None)
    if unknown is not None:
        raise ConfigError(f"constraints.operations: {unknown!r} is no operation; {suggest(unknown, known)}")
    others = [name for name in space.used_operations if name not in {*allowed, "input", "output"}]
    if others:
        raise ConfigError(
            f"search_space: its networks may have {', '.join(others)}, which constraints.operations lacks; a "
            "target sets it: use search_space=conv_mcu, or leave these operations out of the search space"
        )


def _check_episodes(dataset: Dataset, split: Split, config: Config, learner: MetaLearner) -> None:
    task = config.keys.task
    way, key = task.way, "task.way"
    if split == "train" and learner.train_way:
        way, key = learner.train_way, "meta_learner.train_way"
    dataset.check_episodes(split, way=way, shot=task.shot, way_key=key)
