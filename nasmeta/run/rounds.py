"""The rounds of the finals: how many candidates enter each, and for how long networks are trained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nasmeta.config.keys import BudgetConfig


@dataclass(frozen=True)
class Round:
    """A round of the finals.

    candidates: how many enter it, next to the reference. iterations: of a training, in all. networks: how
    many are trained of each architecture.
    """

    candidates: int
    iterations: int
    networks: int


def schedule(candidates: int, *, rounds: int, iterations: int, networks: int) -> list[Round]:
    """The rounds of finals that so many candidates enter. There are fewer if one candidate is left before.

    Each round has twice the iterations of the one before it and the better half of its candidates. The last
    one has `iterations` and several `networks`.
    """
    entering = [candidates]
    while len(entering) < rounds and entering[-1] > 1:
        entering.append(math.ceil(entering[-1] / 2))
    *earlier, last = entering
    halves = [math.ceil(iterations / 2**back) for back in range(len(earlier), 0, -1)]
    shorter = [Round(number, length, 1) for number, length in zip(earlier, halves, strict=True)]
    return [*shorter, Round(last, iterations, networks)]


def rounds_of(budget: BudgetConfig, candidates: int | None = None) -> list[Round]:
    """The `schedule` of the budget. candidates: how many enter, if not as many as the budget has."""
    return schedule(
        budget.final_candidates if candidates is None else candidates,
        rounds=budget.final_rounds,
        iterations=budget.final_iterations,
        networks=budget.final_seeds,
    )


def trainings(rounds: Sequence[Round], ended: Sequence[int] = ()) -> list[int]:
    """The meta-iterations of every training in these rounds, in order, without those of earlier rounds.

    ended: the iterations of the trainings that have ended, which are left out.
    """
    lengths, before = list[int](), 0
    for each in rounds:
        of_one = [each.iterations - before, *[each.iterations] * (each.networks - 1)]
        lengths += (of_one * (each.candidates + 1))[ended.count(each.iterations) :]
        before = each.iterations
    return lengths
