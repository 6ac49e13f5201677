"""What to do where a device's memory is too small for a meta-batch: compute fewer of its tasks at once."""

from collections.abc import Callable
from typing import Any, TypeVar

from nasmeta.evaluators.problem import Problem
from nasmeta.meta_learners.execution import out_of_memory

T = TypeVar("T")


class DoesNotFit(RuntimeError):
    """Not even one task fits in memory."""


def fitting(problem: Problem, arch: Any, attempt: Callable[[Problem], T]) -> tuple[T, Problem]:
    """attempt(problem), and the problem it succeeded with: half of the tasks at once after every failure.

    `arch` is what is trained or judged. Errors other than of memory pass; raises DoesNotFit after one task.
    """
    while True:
        try:
            return attempt(problem), problem
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        smaller = problem.with_fewer_tasks_at_once(arch)  # the error, gone here, held the attempt's tensors
        if smaller is None:
            raise DoesNotFit(reason)
        problem = smaller
