"""Which architectures a search may propose."""

from collections.abc import Callable
from typing import Any

from nasmeta.composition import Composition
from nasmeta.errors import ArchitectureError
from nasmeta.evaluators.base import Evaluator
from nasmeta.evaluators.latency import measure_latency


class Constraints:
    """The run's limits on parameters, FLOPs and latency, and that a network can be built for its images.

    Costs are the evaluator's; one that it does not know is within no limit. A latency is measured once an
    architecture and handed to `record`; `measured` are those that are known from before, so that a resumed
    run decides as it did the first time.
    """

    def __init__(
        self,
        composition: Composition,
        evaluator: Evaluator,
        measured: dict[str, float],
        record: Callable[[str, float], None],
    ) -> None:
        self._composition, self._evaluator = composition, evaluator
        self._limits = composition.config.keys.constraints
        self._measured = measured
        self._record = record

    def feasible(self, arch: Any) -> bool:
        """Whether a strategy may propose `arch`."""
        limits = self._limits
        try:
            cost = self._evaluator.cost(arch)
        except ArchitectureError:
            return False
        if limits.max_params is not None and (cost is None or cost.params > limits.max_params):
            return False
        if limits.max_flops is not None and (cost is None or cost.flops > limits.max_flops):
            return False
        return limits.max_latency_ms is None or self.latency(arch) <= limits.max_latency_ms

    def latency(self, arch: Any) -> float:
        """Milliseconds of one example, measured the first time that it is asked for."""
        key = str(arch)
        if key not in self._measured:
            composition = self._composition
            self._measured[key] = measure_latency(
                composition.space, arch, composition.task, composition.device
            )
            self._record(key, self._measured[key])
        return self._measured[key]
