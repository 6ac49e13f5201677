"""What a run gives to its strategy: the search space, how long to search, and what may be asked for free."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.strategies.progress_file import ProgressFile
from nasmeta.trial import Cost

if TYPE_CHECKING:  # most strategies need no torch
    from nasmeta.training.problem import Problem

Feasible = Callable[[Any], bool]
"""Whether an architecture can be built for the run's tasks within its constraints."""

Costs = Callable[[Any], Cost]
"""The cost of a feasible architecture; it needs no training."""

Proxies = Callable[[str, int], Callable[[Any], float]]
"""Proxies(name, batches) returns a zero-cost score over that many training batches, as a function.

The function maps an architecture to its score, or to NaN if it has none. Raises ConfigError for an unknown
name.
"""


@dataclass(frozen=True)
class SearchContext:
    """Everything a strategy knows about the run besides its own options.

    space: what it searches. seed: from which its random streams follow. trials: how many it may propose.
    iterations: the full budget of a trial in meta-iterations (budget.search_iterations). problem: the tasks
    and the meta-learner, for a strategy that trains networks itself. progress_file: where it keeps them.

    A strategy that runs another one gives it a changed copy (`dataclasses.replace`).
    """

    space: SearchSpace[Any]
    seed: int
    trials: int
    iterations: int
    feasible: Feasible
    costs: Costs
    proxies: Proxies
    problem: "Problem"
    progress_file: ProgressFile
