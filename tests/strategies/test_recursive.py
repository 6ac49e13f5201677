"""Rounds: what each starts from, searches, inherits and remembers."""

from functools import partial
from typing import Any, ClassVar

import pytest

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError
from nasmeta.search_spaces.joint import joint
from nasmeta.search_spaces.settings import Setting
from nasmeta.strategies.base import Strategy, score_of
from nasmeta.strategies.context import SearchContext
from nasmeta.strategies.controller import Controller
from nasmeta.strategies.evolution import RegularizedEvolution
from nasmeta.strategies.hyperband import Hyperband
from nasmeta.strategies.recursive import Recursive
from nasmeta.strategies.reinforce import Reinforce
from nasmeta.testing.strategies import asked, context, play, told
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score
from nasmeta.trial import Outcome, Proposal
from tests.search_spaces.shipped import shipped


class Spy(Strategy):
    """Proposes the best that it learned, or the simplest, then neighbours; remembers what it was told."""

    made: ClassVar[list["Spy"]] = []

    def __init__(self, context: SearchContext) -> None:
        super().__init__(context)
        self.told: list[Outcome] = []
        self.made.append(self)

    def _ask(self, trial: int) -> Proposal:
        rng = self.stream(trial)
        scored = [told for told in self.told if told.score is not None and told.trial < 0]
        first = max(scored, key=score_of).arch if scored else self.space.initial()
        arch = first if trial == 0 else self.fresh(lambda: self.space.mutate(first, rng))
        return Proposal(trial=trial, arch=arch, iterations=self.iterations)

    def _tell(self, told: Outcome) -> None:
        self.told.append(told)


class Growing(ToySpace):
    """Digits below 2, then below 4, then all."""

    def part_for_round(self, number: int, rounds: int) -> ToySpace:
        return ToySpace(self.length, self.base * number // rounds)


def recursive(rounds: int, inner: Any, **rest: Any) -> Recursive:
    return Recursive(context(**rest, space=Growing(4, 6)), rounds=rounds, inner=inner)


def test_each_round_starts_from_the_best_in_a_wider_space_and_remembers() -> None:
    Spy.made.clear()
    history = play(recursive(3, Spy, trials=14))
    first, second, third = Spy.made
    assert [spy.trials for spy in Spy.made] == [4, 5, 5]
    tells = [entry for kind, entry in history if kind == "tell"]
    archs = asked(history)
    for start, stop, space, spy in ((4, 9, 4, second), (9, 14, 6, third)):
        best = max(tells[:start], key=lambda t: t.score)
        assert archs[start] == best.arch
        assert isinstance(spy.space, ToySpace)
        assert spy.space.base == space
        assert [t.arch for t in spy.told[:start]] == [t.arch for t in tells[:start]]
        assert [t.trial for t in spy.told[:start]] == list(range(-start, 0))
        proposals = [entry for kind, entry in history if kind == "ask"][start:stop]
        assert {p.inherits for p in proposals} == {best.trial}
    assert max(max(arch.values) for arch in archs[:4]) < 2
    assert first.stream(1).random() != second.stream(1).random()


def test_the_first_round_learns_the_trials_of_its_part_of_the_space() -> None:
    Spy.made.clear()
    strategy = recursive(3, Spy, trials=14)
    given = [Digits((0, 1, 0, 1)), Digits((5, 0, 0, 0)), Digits((1, 1, 1, 1))]
    strategy.warm_start(
        [Outcome(trial=n, arch=arch, score=0.5, iterations=5, costs={}) for n, arch in enumerate(given)]
    )
    assert [told.arch for told in Spy.made[0].told] == [given[0], given[2]]


def test_a_reference_of_another_width_is_in_no_narrower_part() -> None:
    """Though its string can be read, as that of an opponent under limits."""
    space = shipped("conv")
    part, reference = space.part_for_round(1, 3), space.reference()
    assert part.parse(str(reference)) == reference
    assert not part.contains(reference)
    assert space.contains(reference)
    assert part.contains(part.reference())
    tuned = [joint(each, [Setting.of("optimizer.lr", [0.1, 0.2], 0.1)]) for each in (space, part)]
    assert [each.contains(tuned[0].reference()) for each in tuned] == [True, False]


def test_later_rounds_begin_with_what_was_learned() -> None:
    inner = partial(RegularizedEvolution, population_size=2, sample_size=1, start="reference")
    strategy = recursive(2, inner, trials=4)
    assert strategy.inner.start == "reference"
    play(strategy)
    assert strategy.inner.start == "random"


def test_what_a_round_leaves_goes_to_the_next() -> None:
    class Short(Spy):
        def _exhausted(self) -> bool:
            return self._asked == 2

        def _ask(self, trial: int) -> Proposal:
            return super()._ask(trial)

    Spy.made.clear()
    strategy = recursive(3, Short, trials=12)
    for _ in range(2):
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, distance_score(proposal.arch)))
    strategy.ask()
    assert [spy.trials for spy in Spy.made] == [4, 5]


def test_promotions_of_an_inner_strategy_keep_their_trials() -> None:
    inner = partial(
        Hyperband,
        mode="hyperband",
        eta=2,
        min_share=0.2,
        start="random",
        random_share=0.3,
        model_trials=4,
    )
    strategy = recursive(2, inner, trials=24)
    proposals: dict[int, Proposal] = {}
    while not strategy.done():
        proposal = strategy.ask()
        assert proposal is not None
        proposals[proposal.trial] = proposal
        strategy.tell(told(proposal, distance_score(proposal.arch)))
        if proposal.continues is not None:
            assert proposals[proposal.continues].arch == proposal.arch
            assert proposal.inherits is None
    promoted = {trial for trial, p in proposals.items() if p.continues is not None}
    assert {trial < 12 for trial in promoted} == {True, False}


def test_the_weights_of_the_best_are_kept_for_the_next_round() -> None:
    strategy = recursive(2, Spy, trials=6)
    best = None
    for trial in range(5):
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, score := distance_score(proposal.arch)))
        if trial < 3 and (best is None or score > best[0]):
            best = (score, trial)
            assert strategy.needed() == {trial}
    assert best is not None
    assert best[1] in strategy.needed()


def test_what_a_round_has_learned_beyond_its_trials_is_handed_on() -> None:
    inner = partial(Reinforce, units=8, learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.0)
    strategy = recursive(2, inner, trials=40)
    for _ in range(20):
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, distance_score(proposal.arch)))
    earlier = strategy.inner
    assert strategy.ask() is not None
    later = strategy.inner
    assert isinstance(earlier, Reinforce)
    assert isinstance(later, Reinforce)
    assert later is not earlier
    assert later._baseline == earlier._baseline
    answers = (0, 1, 2, 0)  # the same options of both rounds: digits below 3 of then 3, now 6
    old, new = (_conditional(s.controller, answers) for s in (earlier, later))
    fresh = recursive(1, inner, trials=40).inner
    assert isinstance(fresh, Reinforce)
    assert new == pytest.approx(old, abs=1e-5)
    assert _conditional(fresh.controller, answers) != pytest.approx(old, abs=1e-2)


def _conditional(controller: Controller, answers: tuple[int, ...]) -> float:
    """The log-odds of the last answer, 0, against option 1: the other options do not matter to it."""
    first, second = (controller.score(a)[0].item() for a in (answers, (*answers[:-1], 1)))
    return first - second


def test_the_inner_option_is_checked_like_any_other() -> None:
    """A misspelt key, a wrong value, no option at all, and one where none belongs."""

    def config(*overrides: str) -> Any:
        return parse(composed(["strategy=recursive", *overrides]), trusted=False)

    assert config("strategy@strategy.inner=nsga2").groups["strategy"]["inner"]["crossover_prob"] == 0.9
    with pytest.raises(ConfigError, match=r"inner\.sampel_size: no such key; did you mean 'sample_size'"):
        config("+strategy.inner.sampel_size=3")
    with pytest.raises(ConfigError, match=r"strategy\.inner\.population_size: got 1, "):
        config("strategy.inner.population_size=1")
    with pytest.raises(ConfigError, match=r"strategy\.inner: got 3, "):
        config("strategy.inner=3")
    with pytest.raises(ConfigError, match=r"strategy\.other: no such key"):
        config("+strategy.other={_target_: nasmeta.strategies.random.RandomSearch}")
    with pytest.raises(ConfigError, match=r"strategy\.inner\._target_: 'os\.system' is outside nasmeta"):
        config("strategy.inner._target_=os.system")


def test_architectures_are_those_of_the_widest_space() -> None:
    archs = asked(play(recursive(2, Spy, trials=8)))
    assert len(archs) == 8
    assert all(isinstance(arch, Digits) for arch in archs)
