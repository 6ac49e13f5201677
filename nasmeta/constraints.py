"""Which architectures a search may propose."""

from collections.abc import Callable, Iterable
from typing import Any

from nasmeta.composition import Composition
from nasmeta.errors import ArchitectureError
from nasmeta.evaluators.base import Evaluator
from nasmeta.evaluators.cost import Cost, measure_cost
from nasmeta.evaluators.latency import measure_latency
from nasmeta.evaluators.limits import FAILURES, failure
from nasmeta.journal import Record


class Constraints:
    """The run's limits on parameters, FLOPs and latency, and that a network can be built for its images.

    Costs are the evaluator's; one that it does not know is within no limit. Nor is that of a network that
    fails, or takes too long, when its cost is counted; where there are no limits it is proposed, and its
    trial says what is wrong with it. That, and a latency, is found out once an architecture and handed to
    `record`; what `journalled` events hold is known from before, so that a resumed run decides as it did.
    """

    def __init__(
        self,
        composition: Composition,
        evaluator: Evaluator,
        journalled: Iterable[Record],
        record: Callable[..., None],
    ) -> None:
        self._composition, self._evaluator = composition, evaluator
        self._limits = composition.config.keys.constraints
        events = list(journalled)
        self._measured: dict[str, float] = {r["arch"]: r["ms"] for r in events if r["event"] == "measured"}
        self._uncountable = {r["arch"] for r in events if r["event"] == "uncountable"}
        self._record = record

    def feasible(self, arch: Any) -> bool:
        """Whether a strategy may propose `arch`."""
        limits = self._limits
        try:
            cost = self._counted(arch)
        except ArchitectureError:
            return False
        if limits.max_params is not None and (cost is None or cost.params > limits.max_params):
            return False
        if limits.max_flops is not None and (cost is None or cost.flops > limits.max_flops):
            return False
        if limits.max_latency_ms is None:
            return True
        return str(arch) not in self._uncountable and self.latency(arch) <= limits.max_latency_ms

    def cost(self, arch: Any) -> Cost:
        """What an architecture that is feasible costs; nothing, where that cannot be counted."""
        if str(arch) in self._uncountable:
            return Cost(0, 0)
        return measure_cost(self._composition.space, arch, self._composition.task)

    def _counted(self, arch: Any) -> Cost | None:
        """The evaluator's cost, None where it knows none; raises ArchitectureError."""
        key = str(arch)
        if key in self._uncountable:
            return None
        try:
            return self._evaluator.cost(arch)
        except ArchitectureError:
            raise
        except FAILURES as error:
            self._uncountable.add(key)
            self._record("uncountable", arch=key, reason=failure(error))
            return None

    def latency(self, arch: Any) -> float:
        """Milliseconds of one example, measured the first time that it is asked for."""
        key = str(arch)
        if key not in self._measured:
            composition = self._composition
            self._measured[key] = measure_latency(
                composition.space, arch, composition.task, composition.device
            )
            self._record("measured", arch=key, ms=self._measured[key])
        return self._measured[key]
