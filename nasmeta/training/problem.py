"""The problem of a search: the tasks, how they are learned, and how a network for them is judged.

The meta-test tasks are not part of it, so no evaluator or strategy can see them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import ceil
from typing import Any, TypeVar

import torch
from torch import nn

from nasmeta import seeding
from nasmeta.config.keys import BudgetConfig, RunKeys
from nasmeta.config.schema import Config
from nasmeta.config.tuning import having
from nasmeta.datasets.augment.base import Augmentation
from nasmeta.datasets.base import Dataset, EpisodeSampler
from nasmeta.errors import ArchitectureError, ConfigError, RunFailed
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.execution import Execution
from nasmeta.networks.network import Parameters
from nasmeta.networks.out_of_memory import DoesNotFit, retry_on_oom, with_fewer_tasks
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.count import Bits
from nasmeta.search_spaces.joint import TunedArchitecture
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.search_spaces.settings import Value
from nasmeta.task import Split, TaskSpec
from nasmeta.training.calibration import Calibration, Tasks, fit
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.optimizers import OuterOptimizer
from nasmeta.training.score import TASKS_AT_ONCE, Score, Stop, score
from nasmeta.training.weights import Weights, new_state

T = TypeVar("T")

Tuned = Callable[[Mapping[str, Value]], tuple[MetaLearner, OuterOptimizer]]
"""Makes the learner and the optimizer that have these settings, by dotted key."""


@dataclass(frozen=True)
class Problem:
    """Everything that an evaluator needs besides the architecture and the budget.

    All candidates start from the same random stream, see the same training episodes, and are judged on the
    same `valid_tasks` meta-validation tasks, so that only their architecture differs. If there are
    `final_tasks`, networks are judged on so many tasks instead, on which nothing was judged before.

    Learning-rate schedules span at least `search_iterations` meta-iterations. The training of a candidate
    that gets fewer is thus the beginning of a full training, which can continue it. Progress is saved every
    `save_seconds` seconds.

    `train` and `valid` are loaded at first use, or by `load`. load_train: takes the seed of the episodes.
    tuned: needed if `space` has TunedArchitectures. bits: the width of a number where a network is deployed.
    """

    space: SearchSpace[Any]
    learner: MetaLearner
    optimizer: OuterOptimizer
    task: TaskSpec
    load_train: Callable[[int], EpisodeSampler]
    load_valid: Callable[[], EpisodeSampler]
    valid_tasks: int
    meta_batch: int
    search_iterations: int
    seed: int
    device: torch.device
    execution: Execution
    save_seconds: float
    tuned: Tuned | None = None
    final_tasks: int | None = None
    bits: Bits = 32

    @classmethod
    def of(
        cls,
        config: Config,
        *,
        space: SearchSpace[Any],
        learner: MetaLearner,
        task: TaskSpec,
        dataset: Dataset,
        device: torch.device,
    ) -> "Problem":
        """The problem that a configuration describes, with the objects that are built already."""
        keys = config.keys
        return cls(
            space=space,
            learner=learner,
            optimizer=config.build("optimizer"),
            task=task,
            load_train=partial(episodes, config, dataset, learner, "train", device),
            load_valid=partial(episodes, config, dataset, learner, "valid", device, keys.seed),
            valid_tasks=keys.budget.valid_tasks,
            meta_batch=keys.task.meta_batch,
            search_iterations=keys.budget.search_iterations,
            seed=keys.seed,
            device=device,
            execution=execution(keys),
            save_seconds=keys.save_seconds,
            tuned=partial(_tuned, config),
            bits=keys.constraints.bits,
        )

    def for_arch(self, arch: Any) -> "Problem":
        """The problem with the learner and the optimizer of this architecture, if it has settings.

        Raises ArchitectureError if these settings do not go together.
        """
        if not isinstance(arch, TunedArchitecture):
            return self
        assert self.tuned is not None, "only a space with settings has such architectures"
        try:
            learner, optimizer = self.tuned(dict(arch.settings))
        except ConfigError as error:
            raise ArchitectureError(f"settings that do not go together: {error}") from None
        return replace(
            self,
            learner=learner,
            optimizer=optimizer,
            load_train=lambda _: self.train,
            load_valid=lambda: self.valid,
        )

    def in_full(self, budget: BudgetConfig, network: int) -> "Problem":
        """The problem of full trainings. Shorter ones are the beginning of one of `final_iterations`.

        So a learning rate's schedule spans `final_iterations`, whatever a candidate's training has.

        network: 0 for one with the run's seed; further networks have initial weights and training episodes of
        their own.
        """
        return replace(
            self,
            seed=self.seed if network == 0 else seeding.integer(self.seed, "network", network),
            load_train=self.load_train if network else lambda _: self.train,
            load_valid=lambda: self.valid,
            search_iterations=budget.final_iterations,
            final_tasks=budget.final_tasks,
        )

    @cached_property
    def train(self) -> EpisodeSampler:
        """Meta-training episodes."""
        return self.load_train(self.seed)

    @cached_property
    def valid(self) -> EpisodeSampler:
        """Meta-validation episodes."""
        return self.load_valid()

    def load(self) -> None:
        """Loads all data now, so that its errors are raised before the first trial."""
        _ = self.train, self.valid

    def initial_state(self, arch: Any) -> MetaState:
        """The state of a new network of `arch`, on the device."""
        return self._new(lambda: self.space.build(arch, self.task))

    def restored(self, weights: Weights) -> MetaState:
        """The state of a trained network, on the device."""
        return weights.state(self.space, self.learner, self.task, self.device, self.execution)

    def relaxed_state(self, relaxation: Relaxation) -> MetaState:
        """The state of a new relaxed network of the space, on the device."""
        return self._new(lambda: self.space.relaxed(self.task, relaxation))

    def _new(self, build: Callable[[], nn.Module]) -> MetaState:
        return new_state(build, self.learner, self.task, self.seed, self.device, self.execution)

    def retry_relaxed_on_oom(self, state: MetaState, compute: Callable[[], T]) -> T:
        """Returns compute(), which uses the relaxed network of `state`, with as many tasks at once as fit.

        See `with_fewer_tasks`. Raises RunFailed if not even one task fits.
        """
        try:
            return with_fewer_tasks(state.network, self.meta_batch, compute)
        except DoesNotFit as error:
            raise RunFailed(
                f"the relaxed network: {error}: use fewer or narrower cells in search_space, a smaller "
                "task.query, or strategy.partial_channels"
            ) from error

    def training(self, arch: Any, iterations: int) -> MetaTraining:
        """The meta-training of an architecture, before its first iteration."""
        return MetaTraining(
            self.learner,
            self.initial_state(arch),
            self.train,
            self.optimizer,
            iterations=iterations,
            meta_batch=self.meta_batch,
            horizon=max(iterations, self.search_iterations),
        )

    def retry_on_oom(self, arch: Any, attempt: Callable[["Problem"], T]) -> "tuple[T, Problem]":
        """Returns attempt(problem) and the problem that it succeeded with.

        After each failure for lack of memory, half as many tasks are computed at once. `arch` is the
        architecture that is trained or judged. Raises DoesNotFit if not even one task fits.
        """
        return retry_on_oom(self, lambda problem: problem._with_fewer_tasks_at_once(arch), attempt)

    def _with_fewer_tasks_at_once(self, arch: Any) -> "Problem | None":
        """The same with half as many tasks in memory; None if it is one at a time already."""
        with torch.device("meta"):
            module = self.space.build(arch, self.task)
        smaller = self.execution.resolved(module, self.device).smaller(self.meta_batch)
        if smaller is None:
            return None
        return replace(self, execution=replace(self.execution, task_chunk=smaller.task_chunk))

    def morphed(self, old: str, arch: Any, weights: Parameters, state: MetaState) -> Parameters:
        """The initial parameters of a new `state` of `arch` that inherits `weights` of architecture `old`."""
        rng = seeding.stream(self.seed, "morph", old, str(arch))
        fresh = {name: value.detach().cpu() for name, value in state.parameters.items()}
        return self.space.morph(self.space.parse(old), arch, weights, fresh, rng)

    def judge(self, state: MetaState, stop: Stop) -> Score:
        """The score on the run's meta-validation tasks. Raises Interrupted once `stop()` is true."""
        if self.final_tasks is None:
            return self._score(state, self.valid_tasks, 0, stop)
        return self._score(state, self.final_tasks, 2, stop)

    def judge_iterate(self, state: MetaState, stop: Stop) -> Score:
        """The score on as many tasks as a candidate is judged on, after those."""
        return self._score(state, self.valid_tasks, 1, stop)

    def calibration(self, state: MetaState, stop: Stop) -> Calibration | None:
        """The calibration of a trained network, on the tasks that judge iterates; None for regression.

        None also if the network diverges there. Raises Interrupted once `stop()` is true.
        """
        tasks = Tasks(self.learner, state, self.valid, stop, self._first_batch(1))
        return fit(tasks, self.judge_iterate(state, stop))

    def _score(self, state: MetaState, tasks: int, after: int, stop: Stop) -> Score:
        """The score on the `tasks` meta-validation tasks after so many times `valid_tasks`."""
        first = self._first_batch(after)
        return score(self.learner, state, self.valid, tasks, first_batch=first, stop=stop)

    def _first_batch(self, after: int) -> int:
        """The first batch after so many times `valid_tasks` tasks."""
        return after * ceil(self.valid_tasks / TASKS_AT_ONCE)


def execution(keys: RunKeys) -> Execution:
    """How the arithmetic of a meta-step is carried out."""
    return Execution(
        keys.task_parallel, keys.task_chunk, keys.compile, keys.precision, keys.cuda_graphs, keys.kernels
    )


def episodes(
    config: Config, dataset: Dataset, learner: MetaLearner, split: Split, device: torch.device, seed: int
) -> EpisodeSampler:
    """A split's episodes. Training episodes are augmented, and the learner's `train_way` is theirs."""
    task = config.keys.task
    way = learner.train_way if split == "train" and learner.train_way else task.way
    sampler = dataset.sampler(split, way=way, shot=task.shot, query=task.query, seed=seed, device=device)
    if split != "train":
        return sampler
    augment: Augmentation = config.build("augment")
    return augment.augmented(sampler, dataset.preprocessing, seed)


def _tuned(config: Config, settings: Mapping[str, Value]) -> tuple[MetaLearner, OuterOptimizer]:
    own = having(config, settings)
    policy = BatchNormPolicy(own.keys.batch_norm)
    return own.build("meta_learner", batch_norm=policy), own.build("optimizer")
