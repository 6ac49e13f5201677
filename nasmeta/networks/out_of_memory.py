"""What to do where a device's memory is too small for a meta-batch: compute fewer of its tasks at once."""

from collections.abc import Callable
from typing import TypeVar

from nasmeta.networks.execution import out_of_memory

S = TypeVar("S")
T = TypeVar("T")


class DoesNotFit(RuntimeError):
    """Not even one task fits in memory."""


def fitting(setting: S, smaller: Callable[[S], S | None], attempt: Callable[[S], T]) -> tuple[T, S]:
    """attempt(setting), and the setting it succeeded with: the next `smaller` one after every failure.

    Errors other than of memory pass; raises DoesNotFit where there is no smaller setting.
    """
    while True:
        try:
            return attempt(setting), setting
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        less = smaller(setting)  # the error, gone here, held the attempt's tensors
        if less is None:
            raise DoesNotFit(reason)
        setting = less
