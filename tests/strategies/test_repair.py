"""What strategies propose under limits: repaired draws and mutants, and the reference's relatives first."""

from typing import Any

import numpy as np
import pytest

from nasmeta.errors import NothingFeasible
from nasmeta.strategies.evolution import RegularizedEvolution
from nasmeta.testing.strategies import asked, made, play
from nasmeta.testing.toy_space import Digits, ToySpace


class Repairable(ToySpace):
    """Digits whose sum is the cost; a digit can be lowered. The reference has four relatives."""

    def cheaper(self, arch: Digits, rng: np.random.Generator) -> Digits | None:
        places = [i for i, value in enumerate(arch.values) if value]
        at = places[int(rng.integers(len(places)))] if places else None
        return at if at is None else Digits(tuple(v - (i == at) for i, v in enumerate(arch.values)))

    def relatives(self) -> list[Digits]:
        return [Digits((first, 0, 0, 0)) for first in (5, 3, 2, 1)]


SPACE = Repairable(length=4, base=6)


def cheap(arch: Any) -> bool:
    return sum(arch.values) <= 3


def test_few_draws_of_many_are_feasible_after_repair() -> None:
    archs = asked(play(made("random", space=SPACE, feasible=cheap, trials=20)))
    assert all(cheap(arch) for arch in archs)
    assert len(set(archs)) == 20, "35 of 1296 architectures are feasible, and most draws lead to one of them"


def test_evolution_begins_with_the_feasible_relatives() -> None:
    strategy = made("evolution", space=SPACE, feasible=cheap, trials=20)
    assert isinstance(strategy, RegularizedEvolution)
    archs = asked(play(strategy))
    assert archs[:3] == SPACE.relatives()[1:]
    assert all(cheap(arch) for arch in archs)


def test_repair_does_not_prolong_a_vain_search() -> None:
    checked: list[Any] = []

    def never(arch: Any) -> bool:
        checked.append(arch)
        return False

    strategy = made("random", space=SPACE, feasible=never)
    with pytest.raises(NothingFeasible):
        strategy.ask()
    assert 1000 <= len(checked) < 1100
