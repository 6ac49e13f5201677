"""What every table gives, and the plain one that a CSV becomes."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

from nasmeta.trial import Cost, MetaTested


@dataclass(frozen=True, slots=True)
class Validated:
    """What a search may see: accuracy (a fraction), its 95% half-width, training seconds; None: unknown."""

    accuracy: float
    ci95: float | None = None
    seconds: float | None = None


class Table(ABC):
    """Accuracies by an architecture's canonical string and its budget; validation and test are two calls."""

    budgets: tuple[int, ...] | None
    """The budgets that the table has rows of, ascending; None where its rows stand for any."""

    has_costs: bool
    """Whether it knows parameters and FLOPs."""

    @property
    @abstractmethod
    def archs(self) -> Iterable[str]:
        """The architectures' strings."""

    @abstractmethod
    def valid(self, arch: str, iterations: int) -> Validated | None:
        """None where the table has no such row."""

    @abstractmethod
    def test(self, arch: str, iterations: int) -> MetaTested:
        """The test accuracy beside `valid`; raises KeyError where there is no such row."""

    @abstractmethod
    def cost(self, arch: str) -> Cost | None:
        """Parameters and FLOPs; None where the table does not know them."""


@dataclass
class InMemory(Table):
    """Rows by (architecture, budget); the budget of a row is 0 where `budgets` is None."""

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


def budget_error(table: Table, iterations: int) -> str | None:
    """Why the table cannot answer for a budget, with the nearest that it has; None where it can."""
    if table.budgets is None or iterations in table.budgets:
        return None
    nearest = min(table.budgets, key=lambda budget: abs(budget - iterations))
    has = ", ".join(map(str, table.budgets))
    return f"the table has no rows of {iterations} iterations, the nearest are of {nearest} (it has {has})"
