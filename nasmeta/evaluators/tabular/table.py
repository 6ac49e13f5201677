"""The interface of all tables, and the in-memory table that a CSV becomes."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

from nasmeta.trial import Cost, MetaTested


@dataclass(frozen=True, slots=True)
class Validated:
    """What a search sees: accuracy (a fraction), half its 95% interval, training seconds. None: unknown."""

    accuracy: float
    ci95: float | None = None
    seconds: float | None = None


class Table(ABC):
    """Accuracies by an architecture's canonical string and budget. Validation and test are two calls."""

    budgets: tuple[int, ...] | None
    """The budgets that the table has rows for, ascending; None if its rows stand for any budget."""

    has_costs: bool
    """Whether it knows parameters and FLOPs."""

    @property
    @abstractmethod
    def archs(self) -> Iterable[str]:
        """The architectures' strings."""

    @abstractmethod
    def valid(self, arch: str, iterations: int) -> Validated | None:
        """The validation result; None if there is no such row."""

    @abstractmethod
    def test(self, arch: str, iterations: int) -> MetaTested:
        """The test accuracy of the row that `valid` reads. Raises KeyError if there is no such row."""

    @abstractmethod
    def cost(self, arch: str) -> Cost | None:
        """Parameters and FLOPs; None if the table does not know them."""


@dataclass
class InMemory(Table):
    """Rows by (architecture, budget). The budget of a row is 0 if `budgets` is None."""

    budgets: tuple[int, ...] | None
    has_costs: bool
    validated: dict[tuple[str, int], Validated] = field(default_factory=dict)
    tested: dict[tuple[str, int], MetaTested] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)

    @property
    def archs(self) -> Iterable[str]:
        return (arch for arch, _ in self.validated)

    def valid(self, arch: str, iterations: int) -> Validated | None:
        return self.validated.get(self._key(arch, iterations))

    def test(self, arch: str, iterations: int) -> MetaTested:
        return self.tested[self._key(arch, iterations)]

    def cost(self, arch: str) -> Cost | None:
        return self.costs.get(arch)

    def _key(self, arch: str, iterations: int) -> tuple[str, int]:
        return arch, 0 if self.budgets is None else iterations
