"""What a strategy that trains networks itself is given: tasks, and a way to learn them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from nasmeta.datasets.base import EpisodeSampler
    from nasmeta.meta_learners.base import MetaLearner, MetaState
    from nasmeta.search_spaces.relaxation.spec import Relaxation
    from nasmeta.task import TaskSpec
    from nasmeta.training.optimizers import OuterOptimizer

T = TypeVar("T")


class Problem(Protocol):
    """The part of training.problem.Problem that a gradient search needs. Strategies import no learner."""

    @property
    def learner(self) -> MetaLearner: ...

    @property
    def optimizer(self) -> OuterOptimizer: ...

    @property
    def task(self) -> TaskSpec: ...

    @property
    def meta_batch(self) -> int: ...

    @property
    def train(self) -> EpisodeSampler: ...

    def relaxed_state(self, relaxation: Relaxation) -> MetaState: ...

    def retry_relaxed_on_oom(self, state: MetaState, compute: Callable[[], T]) -> T: ...
