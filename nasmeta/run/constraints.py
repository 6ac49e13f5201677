"""Decides which architectures a search may propose, and whether it can begin at all."""

import logging
import math
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any

from nasmeta.config.keys import ConstraintsConfig
from nasmeta.config.schema import Config
from nasmeta.errors import ArchitectureError, ConfigError, Interrupted, NothingFeasible
from nasmeta.evaluators.base import Evaluator
from nasmeta.evaluators.failures import FAILURES, failure
from nasmeta.networks.cost import measure_cost
from nasmeta.networks.latency import measure_latency
from nasmeta.run.compatible import LIMITED
from nasmeta.run.composition import Composition
from nasmeta.run.environment import environment
from nasmeta.run.history import earlier_trials
from nasmeta.run.records import JournalEvent, Measured, Uncountable
from nasmeta.run.state import RunState
from nasmeta.search_spaces.joint import TunedArchitecture
from nasmeta.task import SPLITS
from nasmeta.training.score import Stop
from nasmeta.trial import Cost

log = logging.getLogger(__name__)

TOO_SLOW = 50
"""After so many networks that are all too slow, the user is told how fast the fastest one is."""


class Constraints:
    """The run's limits on what a network costs, and the check that it can be built.

    Costs are those that the evaluator reports. A cost that it does not know exceeds every limit. So does the
    cost of a network that fails, or takes too long, when it is counted. Without limits, such a network is
    proposed, and its trial says what is wrong with it.

    Such failures and latencies are found out once per architecture and passed to `record`, which applies them
    to `state`. What the state has is not found out again, so that a resumed run decides as it did. `limits`
    replaces those of the configuration. stop: whether to stop before a latency is measured.
    """

    def __init__(
        self,
        composition: Composition,
        evaluator: Evaluator,
        state: RunState,
        record: Callable[[JournalEvent], None],
        limits: ConstraintsConfig | None = None,
        stop: Stop = lambda: False,
    ) -> None:
        self._composition, self._evaluator = composition, evaluator
        self._limits = limits or composition.config.keys.constraints
        self._limited = any(getattr(self._limits, key) is not None for key in LIMITED)
        self._state, self._record, self._stop = state, record, stop
        self._any_fits = False
        self._refusals: Counter[str] = Counter()
        self._least: dict[str, tuple[float, str]] = {}
        self._unbuildable = ""

    def feasible(self, arch: Any) -> bool:
        """Whether a strategy may propose `arch`. Raises Interrupted if a latency is needed after `stop()`."""
        try:
            cost = self._counted(arch)
        except ArchitectureError as error:
            self._refusals["search_space"] += 1
            self._unbuildable = str(error)
            return False
        fits = all(self._within(key, arch, cost) for key in LIMITED)
        self._any_fits |= fits
        return fits

    def _within(self, key: str, arch: Any, cost: Cost | None) -> bool:
        """Whether a cost is within its limit, or there is no limit. An unknown cost exceeds every limit."""
        limit = getattr(self._limits, key)
        if limit is None:
            return True
        value = None if cost is None else self._value(LIMITED[key], arch, cost)
        if value is not None and key.endswith("_kib"):
            value /= 1024
        if value is not None and value <= limit:
            return True
        self._refusals[key] += 1
        if value is not None:
            self._least[key] = min((value, str(arch)), self._least.get(key, (math.inf, "")))
        if key == "max_latency_ms" and self._refusals[key] == TOO_SLOW and not self._any_fits:
            log.warning("none of the networks tried so far is feasible: %s", self.reasons())
        return False

    def _value(self, name: str, arch: Any, cost: Cost) -> float | None:
        if name == "latency":
            if self._stop():
                raise Interrupted("stopped before a latency was measured")
            return self.latency(arch)
        value: float | None = getattr(cost, name)
        return value

    def reasons(self) -> str:
        """Why architectures were not feasible so far, with the cheapest of those beyond each limit."""
        parts = []
        for key, count in self._refusals.most_common():
            if key == "search_space":
                parts.append(f"{count} cannot be judged, the last one because {self._unbuildable}")
            else:
                limit = f"constraints.{key}={getattr(self._limits, key):.12g}"
                value, arch = self._least.get(key, (None, ""))
                least = "" if value is None else f", the least is {round(value, 2):.12g} ({arch})"
                parts.append(f"{count} are beyond {limit}{least}: raise it")
        return "; ".join(parts)

    def cost(self, arch: Any) -> Cost:
        """The cost of a feasible architecture; zero if it cannot be counted."""
        if _network(arch) in self._state.uncountable:
            return Cost(0, 0)
        whole = self._composition
        return measure_cost(whole.space, arch, whole.task, whole.config.keys.constraints.bits)

    def _counted(self, arch: Any) -> Cost | None:
        """The evaluator's cost, None if it is not known or cannot be counted; raises ArchitectureError."""
        key = _network(arch)
        if key in self._state.uncountable:
            return None
        try:
            return self._evaluator.cost(arch)
        except ArchitectureError:
            raise
        except FAILURES as error:
            self._record(Uncountable(arch=key, reason=failure(error)))
            return None

    def latency(self, arch: Any) -> float:
        """Milliseconds for one example, measured the first time that this is called for the architecture."""
        key = _network(arch)
        if key not in self._state.latencies:
            whole = self._composition
            ms = measure_latency(whole.space, arch, whole.task, whole.device)
            self._record(Measured(arch=key, ms=ms))
        return self._state.latencies[key]

    @cached_property
    def reference(self) -> Any:
        """The hand-designed network that the search has to beat, scaled to meet the limits.

        Looking accuracies up gives none for such a network, so it then stays the space's reference. It does
        too, with a warning, if no network of its form meets them.
        """
        space = self._composition.space
        if not self._evaluator.trains_networks() or not self._limited:
            return space.reference()
        fits = self._apart().feasible
        found = space.reference_within(fits)
        if not fits(found):
            log.warning("%s: the reference is beyond the limits; it is trained to compare, not to win", found)
        return found

    @property
    def reference_fits(self) -> bool:
        """Whether the reference meets the limits. It does not if no network of its form does."""
        return not self._limited or self._apart().feasible(self.reference)

    def _apart(self) -> "Constraints":
        """The same limits, whose refusals do not count as those of architectures that a strategy drew."""
        return Constraints(self._composition, self._evaluator, self._state, self._record, stop=self._stop)

    def costs_of_reference(self) -> dict[str, float]:
        """The costs of the reference, as far as they are objectives of the strategy."""
        whole, arch = self._composition, self.reference
        try:
            cost = self._evaluator.cost(arch)
        except ArchitectureError:  # a table may have no row for it
            cost = self.cost(arch)
        assert cost is not None, "run/compatible.py refuses objectives that the evaluator does not know"
        values = {objective: self._value(objective, arch, cost) for objective in whole.objectives}
        return {objective: value for objective, value in values.items() if value is not None}


def _network(arch: Any) -> str:
    """The architecture's string without settings to train it by, which change no cost."""
    return str(arch.arch if isinstance(arch, TunedArchitecture) else arch)


def ready(config: Config) -> Composition:
    """The composition of a run that can begin, with its data loaded.

    Raises UserError if parts do not fit, if no architecture meets the constraints, if the data is missing or
    damaged, or if the trials of earlier runs cannot be used.
    """
    composition = Composition.of(config)
    check_feasible(composition)
    if composition.trains_networks:
        for split in SPLITS:
            composition.sampler(split)
    if config.keys.history:
        earlier_trials(config.keys.history, environment(composition), composition.objectives)
    return composition


def check_feasible(composition: Composition) -> None:
    """Raises ConfigError if a search would find no feasible architecture.

    A strategy that trains a network for all architectures is not asked, since it would first train for an
    epoch: random draws stand for what it may find. A limit on latency is ignored here.
    Measuring takes time, and only a run can record what it measured.
    """
    limits = composition.config.keys.constraints.model_copy(update={"max_latency_ms": None})
    state = RunState()
    constraints = Constraints(composition, composition.evaluators.for_search, state, state.apply, limits)
    strategy = composition.strategy(constraints.feasible, costs=constraints.cost)
    try:
        if strategy.black_box:
            strategy.ask()
        elif limits.limits and strategy.adaptation is None:
            rng = strategy.stream("feasible")
            strategy.fresh(lambda: composition.space.sample(rng))
    except NothingFeasible as error:
        raise ConfigError(f"search_space: {error}: {constraints.reasons()}") from error
