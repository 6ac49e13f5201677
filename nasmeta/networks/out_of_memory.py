"""What to do if a meta-batch does not fit in a device's memory: compute fewer of its tasks at once."""

from collections.abc import Callable
from typing import TypeVar

from nasmeta.networks.execution import out_of_memory

S = TypeVar("S")
T = TypeVar("T")


class DoesNotFit(RuntimeError):
    """Not even one task fits in memory."""


def retry_on_oom(setting: S, smaller: Callable[[S], S | None], attempt: Callable[[S], T]) -> tuple[T, S]:
    """Returns attempt(setting) and the setting that it succeeded with.

    After each failure for lack of memory, the next `smaller` setting is tried. Other errors pass through.
    Raises DoesNotFit if there is no smaller setting.
    """
    while True:
        try:
            return attempt(setting), setting
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        less = smaller(setting)  # outside of `except`: the error held the attempt's tensors
        if less is None:
            raise DoesNotFit(reason)
        setting = less
