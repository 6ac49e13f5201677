"""What strategies propose under limits, and begin with: repaired draws and mutants, relatives first."""

from typing import Any

import numpy as np
import pytest

from nasmeta.errors import NothingFeasible
from nasmeta.seeding import stream
from nasmeta.strategies.surrogate.sampler import ModelSampler
from nasmeta.testing.strategies import asked, made, play, told
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score
from nasmeta.trial import Proposal


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


STARTING = ["evolution", "hyperband", "local_search", "model_hyperband", "nsga2", "predictor"]


@pytest.mark.parametrize("option", STARTING)
def test_it_begins_with_the_feasible_relatives(option: str) -> None:
    archs = asked(play(made(option, space=SPACE, feasible=cheap, trials=20)))
    assert archs[:3] == SPACE.relatives()[1:]
    assert all(cheap(arch) for arch in archs)
    plain = asked(play(made(option, "strategy.start=random", space=SPACE, feasible=cheap, trials=20)))
    assert plain[:3] != SPACE.relatives()[1:]
    grown = asked(play(made(option, "strategy.start=initial", space=SPACE, trials=5)))
    assert grown[0] == SPACE.initial()


@pytest.mark.parametrize("option", ["evolution", "local_search", "nsga2", "predictor"])
def test_what_it_begins_with_does_not_depend_on_how_many_trials_there_are(option: str) -> None:
    """Otherwise a run could not be given more of them. Hyperband plans its brackets for their number."""
    archs = asked(play(made(option, space=SPACE, trials=4)))
    assert archs == SPACE.relatives()
    assert asked(play(made(option, space=SPACE, trials=12)))[:4] == archs


def test_what_was_learned_takes_the_place_of_the_relatives() -> None:
    strategy = made("local_search", space=SPACE, trials=9)
    known = [Digits((3, 2, 1, 0)), Digits((1, 2, 3, 3)), Digits((0, 0, 0, 0))]
    strategy.warm_start(
        [told(Proposal(trial=i, arch=a, iterations=5), distance_score(a)) for i, a in enumerate(known)]
    )
    archs = asked(play(strategy))
    assert archs[0] in set(SPACE.neighbors(known[1])), "its walk starts at the best that it was told"
    assert not set(archs[:4]) & set(SPACE.relatives())


def test_a_model_repairs_its_mutants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mutant is too expensive, and yet one of them, made cheaper, is proposed."""
    monkeypatch.setattr(SPACE, "mutate", lambda arch, rng: Digits((*arch.values[:3], 5)))
    sampler = ModelSampler(SPACE, cheap, acquisition="ei", mutants=10, immigrants=0)
    archs = [Digits((1, 1, 1, 0)), Digits((2, 0, 1, 0)), Digits((0, 0, 3, 0))]
    known = [told(Proposal(trial=i, arch=a, iterations=5), distance_score(a)) for i, a in enumerate(archs)]
    proposed = sampler.propose(known, [], set(archs), stream(0, "repair"))
    assert proposed is not None
    assert cheap(proposed)
    assert proposed.values[3] > 0


def test_repair_does_not_prolong_a_vain_search() -> None:
    checked: list[Any] = []

    def never(arch: Any) -> bool:
        checked.append(arch)
        return False

    strategy = made("random", space=SPACE, feasible=never)
    with pytest.raises(NothingFeasible, match="none of the architectures tried"):
        strategy.ask()
    assert 1000 <= len(checked) < 1100
