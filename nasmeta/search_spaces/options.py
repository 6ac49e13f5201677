"""Checks of the lists and ranges that configure spaces, and of the tasks they are for.

Errors use the configuration's keys.
"""

from collections.abc import Iterable, Sequence

from nasmeta.errors import ArchitectureError, ConfigError, suggest
from nasmeta.task import TaskSpec


def names(key: str, values: Iterable[str], valid: Iterable[str]) -> tuple[str, ...]:
    """`values` as a tuple. Raises ConfigError if it is empty, repeats a name, or has an unknown one."""
    chosen, known = tuple(values), tuple(valid)
    for value in chosen:
        if value not in known:
            raise ConfigError(f"search_space.{key}: {value!r} is unknown; {suggest(value, known)}")
    _distinct(key, chosen, f"one or more of {', '.join(known)}")
    return chosen


def widths(key: str, values: Iterable[int]) -> tuple[int, ...]:
    """`values` as a tuple. Raises ConfigError if it is empty or not ascending, or repeats a width."""
    chosen = tuple(values)
    _distinct(key, chosen, "one or more widths")
    if list(chosen) != sorted(chosen):
        raise ConfigError(f"search_space.{key}: {list(chosen)} must ascend: {sorted(chosen)}")
    return chosen


def ordered(low_key: str, low: int, high_key: str, high: int) -> None:
    """Raises ConfigError if `low` is above `high`."""
    if low > high:
        raise ConfigError(
            f"search_space.{low_key}={low} is above search_space.{high_key}={high}; "
            f"use {low_key} of at most {high}"
        )


def image_shape(space: str, task: TaskSpec) -> tuple[int, int, int]:
    """Channels, height and width of the task's images. Raises ArchitectureError if it has none."""
    if len(task.input_shape) != 3:
        raise ArchitectureError(
            f"the {space} space needs images of shape (channels, height, width), got {task.input_shape}; "
            "use search_space=mlp"
        )
    channels, height, width = task.input_shape
    return channels, height, width


def step(low: int, high: int, number: int, steps: int) -> int:
    """Where the `number`-th (from 1) of `steps` even steps from `low` to `high` ends, rounded up."""
    return low + -(-(high - low) * number // steps)


def closest(values: Sequence[int], wanted: int) -> int:
    """The value nearest to `wanted`; the smaller one of two equally near."""
    return min(values, key=lambda value: (abs(value - wanted), value))


def preferred(values: Sequence[str], wanted: str) -> str:
    """`wanted` if it is allowed, else the first value."""
    return wanted if wanted in values else values[0]


def _distinct(key: str, values: tuple[object, ...], wanted: str) -> None:
    if not values:
        raise ConfigError(f"search_space.{key}: the list is empty; use {wanted}")
    repeated = [value for i, value in enumerate(values) if value in values[:i]]
    if repeated:
        raise ConfigError(f"search_space.{key}: {repeated[0]!r} is listed twice; list each once")
