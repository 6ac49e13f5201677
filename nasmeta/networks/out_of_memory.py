"""If a meta-batch does not fit in a device's memory, fewer of its tasks are computed at once."""

from collections.abc import Callable
from typing import TypeVar

import torch

from nasmeta.errors import NasmetaError
from nasmeta.networks.execution import Execution
from nasmeta.networks.network import Network

S = TypeVar("S")
T = TypeVar("T")


class DoesNotFit(NasmetaError, RuntimeError):
    """Not even one task fits in memory."""


def out_of_memory(error: RuntimeError) -> bool:
    """Whether a torch operation ran out of memory: a class of its own on GPUs, only a message on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


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
            raise DoesNotFit(f"not even one task fits in memory: {reason}")
        setting = less


def with_fewer_tasks(network: Network, tasks: int, compute: Callable[[], T]) -> T:
    """Returns compute(), in which `network` takes a batch of `tasks` tasks, with as many at once as fit.

    After each failure for lack of memory, half as many are computed at once, from then on too. `compute` must
    change nothing before it returns. Raises DoesNotFit if not even one task fits.
    """

    def attempt(execution: Execution) -> T:
        network.execution = execution
        return compute()

    return retry_on_oom(network.execution, lambda execution: execution.smaller(tasks), attempt)[0]
