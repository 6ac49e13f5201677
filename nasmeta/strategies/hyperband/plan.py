"""How a number of trials is divided into brackets: the sizes and budgets of their rungs."""

import math
from typing import Literal, NamedTuple

Mode = Literal["halving", "hyperband", "asha"]


class Rung(NamedTuple):
    """`size` architectures that reach `iterations` meta-iterations in all."""

    size: int
    iterations: int


def halvings(iterations: int, eta: int, min_share: float) -> int:
    """s_max: how often a budget can be divided by `eta` without falling below `min_share` or 1 iteration."""
    smallest = max(min_share * iterations, 1.0) * (1 - 1e-9)  # so that a share of 0.1 counts as 1/10
    count = 0
    while iterations / eta ** (count + 1) >= smallest:
        count += 1
    return count


def budgets(iterations: int, eta: int, s: int) -> list[int]:
    """The budgets of a bracket's s + 1 rungs in meta-iterations; the last one is the full budget."""
    return [round(iterations / eta ** (s - i)) for i in range(s + 1)]


def sizes(n: int, eta: int, s: int) -> list[int]:
    """The number of architectures, out of `n`, on each of s + 1 rungs: floor(n / eta^i)."""
    return [n // eta**i for i in range(s + 1)]


def bracket(s: int, s_max: int, iterations: int, eta: int) -> list[Rung]:
    """Hyperband's bracket `s` (Li et al. 2018, algorithm 1, lines 3 to 6)."""
    n = math.ceil((s_max + 1) / (s + 1) * eta**s)
    return _rungs(sizes(n, eta, s), budgets(iterations, eta, s))


def cut(trials: int, s: int, iterations: int, eta: int) -> list[Rung]:
    """The largest bracket of at most `trials` evaluations and s + 1 rungs that ends at the full budget."""
    while s > 0 and sum(sizes(eta**s, eta, s)) > trials:
        s -= 1
    n = trials
    while sum(sizes(n, eta, s)) > trials:
        n -= 1
    return _rungs(sizes(n, eta, s), budgets(iterations, eta, s))


def _rungs(counts: list[int], steps: list[int]) -> list[Rung]:
    return [Rung(count, step) for count, step in zip(counts, steps, strict=True)]
