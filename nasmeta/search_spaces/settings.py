"""Settings that are searched together with the architecture, and the values that they may take."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    model_validator,
)

from nasmeta.search_spaces import tokens

Value = bool | int | float | str

LEVELS = 33
"""The number of values that a range is divided into, unless it has fewer integers."""

EDIT_STEPS = (1, 2, 4, 8)
"""How many levels one edit of a range may move a setting, up or down. Choices move to any other choice."""


class Range(BaseModel):
    """Numbers from `low` to `high`, in even steps, or in even ratios if `log` is true.

    If the setting is an integer and both ends are, all are. Others are rounded to three significant digits.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low={self.low} has to be below high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low} has to be above 0 if log=true")
        return self

    def values(self, *, integers: bool) -> list[int | float]:
        """The values of this range, ascending; both ends are among them.

        integers: whether the setting is an integer.
        """
        shares = [i / (LEVELS - 1) for i in range(LEVELS)]
        if self.log:
            ratio = math.log(self.high / self.low)
            inner: list[float] = [self.low * math.exp(share * ratio) for share in shares[1:-1]]
        else:
            inner = [self.low + share * (self.high - self.low) for share in shares[1:-1]]
        if integers and isinstance(self.low, int) and isinstance(self.high, int):
            return sorted({self.low, *(round(value) for value in inner), self.high})
        rounded = (float(f"{value:.3g}") for value in inner)
        return [float(self.low), *sorted({v for v in rounded if self.low < v < self.high}), float(self.high)]


def _two_or_more(values: Any) -> Any:
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError("should be choices, as [0.01, 0.1], or a range, as {low: 0.01, high: 1, log: true}")
    return values


def _different(values: list[Value]) -> list[Value]:
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise ValueError(f"{printed(twice)} is there twice")
    return values


Choices = Annotated[list[Value], BeforeValidator(_two_or_more), AfterValidator(_different)]
"""Two or more different values to choose from; 1 and true do not differ."""


def _by_dotted_key(values: Any, prefix: str = "") -> Any:
    """Mappings inside mappings as one, by dotted key; null as none. A range stays a mapping."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        return values
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping) and not set(value) & set(Range.model_fields)
        found = _by_dotted_key(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
        if twice := sorted(flat.keys() & found.keys()):
            raise ValueError(f"{twice[0]} is there twice")
        flat |= found
    return flat


def _sorted(values: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items()))


def _kind(values: Any) -> str:
    return "range" if isinstance(values, Mapping | Range) else "choices"


Values = Annotated[Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)]
Tune = Annotated[dict[str, Values], BeforeValidator(_by_dotted_key), AfterValidator(_sorted)]
"""Ranges or choices by the dotted key of a setting, in alphabetical order."""


@dataclass(frozen=True)
class Setting:
    """One configuration key with the values that it may take, in order.

    key: its dotted name. levels: the values of a range, ascending, or the choices. ordered: whether it is a
    range, in which one edit moves a few levels. default: what the configuration says, or the level nearest to
    that.
    """

    key: str
    levels: tuple[Value, ...]
    ordered: bool
    default: Value

    @classmethod
    def of(cls, key: str, values: Range | Sequence[Value], configured: Value) -> "Setting":
        """The setting `key` with these values. A configured value inside a range is one of its levels."""
        if not isinstance(values, Range):
            levels = tuple(values)
            return cls(key, levels, False, _nearest(levels, configured))
        assert isinstance(configured, int | float)
        numbers = values.values(integers=isinstance(configured, int))
        if values.low < configured < values.high:
            numbers = sorted({*numbers, configured})
        return cls(key, tuple(numbers), True, _nearest(numbers, configured))

    def near(self, value: Value) -> list[Value]:
        """The values that one edit of `value` may lead to, in a fixed order."""
        at = self.levels.index(value)
        if not self.ordered:
            return [level for level in self.levels if level != value]
        places = [at + sign * step for step in EDIT_STEPS for sign in (-1, 1)]
        return [self.levels[place] for place in places if 0 <= place < len(self.levels)]

    def parse(self, text: str) -> Value:
        """The level that prints as `text`. Raises ArchitectureError if there is none."""
        levels = {printed(level): level for level in self.levels}
        return levels[tokens.name(self.key, text, levels)]


def _nearest(levels: Sequence[Value], configured: Value) -> Value:
    """The level that is the configured value or, among numbers, the nearest to it; else the first."""
    if configured in levels:
        return configured
    numbers = [level for level in levels if _is_number(level)]
    if not numbers or not _is_number(configured):
        return levels[0]
    return min(numbers, key=lambda number: abs(float(number) - float(configured)))


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def printed(value: Value) -> str:
    """A value as on a command line: true and false in lower case, numbers in their shortest form."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def nested(settings: Mapping[str, Value]) -> dict[str, dict[str, Any]]:
    """Settings by dotted key, `group.name`, as the values of each group."""
    groups: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        group, _, name = key.partition(".")
        groups.setdefault(group, {})[name] = value
    return groups
