"""Batch-norm policies: whose statistics normalize a query. Loads without torch, for the configuration."""

from dataclasses import dataclass
from enum import Enum

from nasmeta.errors import ConfigError, suggest


@dataclass(frozen=True)
class Statistics:
    """Whose statistics normalize one forward pass.

    tasks: the batch holds this many tasks one after the other; each is normalized by itself.
    rows: a task is normalized by its first `rows` examples (None: by all of them).
    population: use the population statistics instead of those of `tasks` and `rows`.
    record: every layer remembers the moments of its inputs.
    """

    tasks: int = 1
    rows: int | None = None
    population: bool = False
    record: bool = False


OWN = Statistics()
"""Each batch is normalized by its own statistics."""


class BatchNormPolicy(Enum):
    """Whose statistics normalize a query; the values are the configuration's words.

    SUPPORT: those of the support set. Each query is judged alone, as a deployed classifier must do.
    TRANSDUCTIVE: those of the batch that contains the query (MAML's code, Finn et al. 2017). The prediction
    for a query then depends on the other queries.
    RUNNING: population statistics, averaged over meta-training tasks once training is over. They are averaged
    exactly, at the final weights (Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3), and not
    exponentially during training. Training steps therefore stay pure functions.

    The policy concerns queries only. During adaptation, a support set is always normalized by its own
    statistics.
    """

    SUPPORT = "support"
    TRANSDUCTIVE = "transductive"
    RUNNING = "running"

    @classmethod
    def parse(cls, word: object) -> "BatchNormPolicy":
        """The policy that the configuration names; raises ConfigError if it is unknown."""
        words = [policy.value for policy in cls]
        if word not in words:
            raise ConfigError(f"batch_norm: {word!r} is not a policy; {suggest(str(word), words)}")
        return cls(word)

    @property
    def needs_population(self) -> bool:
        """Whether queries need population statistics, which exist only after training."""
        return self is BatchNormPolicy.RUNNING

    @property
    def depends_on_companions(self) -> bool:
        """Whether the answer to a query depends on the other queries that it comes with."""
        return self is BatchNormPolicy.TRANSDUCTIVE

    @property
    def in_training(self) -> "BatchNormPolicy":
        """The policy of a network that has no population statistics yet."""
        return BatchNormPolicy.TRANSDUCTIVE if self.needs_population else self

    def statistics(self, shots: int, tasks: int = 1) -> Statistics:
        """The statistics of a pass over the queries of `tasks` tasks.

        If they have `rows`, each task must begin with its `shots` support examples.
        """
        if self.needs_population:
            return Statistics(population=True)
        return Statistics(tasks, rows=None if self.depends_on_companions else shots)
