"""Brackets against the paper's table, promotions against a simulation that knows everything beforehand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmeta.strategies.hyperband import Hyperband, plan
from nasmeta.testing.strategies import context, play, told
from nasmeta.trial import Proposal

# Li et al. 2018, table 1: R = 81, eta = 3; bracket s -> (n_i, r_i).
TABLE = {
    4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    3: [(34, 3), (11, 9), (3, 27), (1, 81)],
    2: [(15, 9), (5, 27), (1, 81)],
    1: [(8, 27), (2, 81)],
    0: [(5, 81)],
}


def hyperband(
    mode: plan.Mode = "hyperband", eta: int = 3, min_share: float = 1 / 81, iterations: int = 81, **rest: int
) -> Hyperband:
    return Hyperband(
        context(iterations=iterations, **rest),
        mode=mode,
        eta=eta,
        min_share=min_share,
        start="random",
        random_share=1.0,
        model_trials=10,
    )


def score(arch: object) -> float:
    """A ranking that no two architectures of the toy space share."""
    return float(int("".join(c for c in str(arch) if c.isdigit()), 6) * 7919 % 1297)


def run(strategy: Hyperband, outstanding: int = 1, failed: frozenset[int] = frozenset()) -> list[Proposal]:
    """All proposals in order; every trial is told, the oldest first."""
    proposals: list[Proposal] = []
    waiting: list[Proposal] = []
    while not strategy.done():
        while len(waiting) < outstanding and (proposal := strategy.ask()) is not None:
            waiting.append(proposal)
            proposals.append(proposal)
        first = waiting.pop(0)
        strategy.tell(told(first, None if first.trial in failed else score(first.arch)))
    return proposals


def test_the_papers_table() -> None:
    assert plan.halvings(81, 3, 1 / 81) == 4
    for s, rungs in TABLE.items():
        assert plan.bracket(s, 4, 81, 3) == rungs


@pytest.mark.parametrize(
    ("iterations", "eta", "min_share", "expected"),
    [
        (81, 3, 0.037, 3),
        (81, 3, 1.0, 0),
        (10, 2, 0.1, 3),
        (5, 3, 0.001, 1),
        (1, 3, 0.001, 0),
        (100, 10, 0.1, 1),
    ],
)
def test_no_budget_falls_below_the_share_or_one_iteration(
    iterations: int, eta: int, min_share: float, expected: int
) -> None:
    s = plan.halvings(iterations, eta, min_share)
    assert s == expected
    steps = plan.budgets(iterations, eta, s)
    assert steps[-1] == iterations
    assert steps[0] >= 1
    assert steps == sorted(set(steps))


def test_a_whole_round_of_hyperband_is_the_table() -> None:
    trials = sum(n for rungs in TABLE.values() for n, _ in rungs)
    proposals = run(hyperband(trials=trials + 121))
    sizes = [(bracket_of, n, r) for bracket_of, rungs in TABLE.items() for n, r in rungs]
    at = 0
    for s, n, r in [*sizes, *((4, n, r) for n, r in TABLE[4])]:
        assert [p.iterations for p in proposals[at : at + n]] == [r] * n, f"bracket {s} at budget {r}"
        at += n
    assert at == len(proposals)


@settings(max_examples=60, deadline=None)
@given(trials=st.integers(1, 200), s=st.integers(0, 4), eta=st.integers(2, 4))
def test_the_last_bracket_is_the_largest_that_fits_and_reaches_the_full_budget(
    trials: int, s: int, eta: int
) -> None:
    rungs = plan.cut(trials, s, eta**4, eta)
    assert sum(rung.size for rung in rungs) <= trials
    assert rungs[-1].iterations == eta**4
    assert rungs[-1].size >= 1
    larger = plan.sizes(rungs[0].size + 1, eta, len(rungs) - 1)
    assert sum(larger) > trials
    if len(rungs) <= s:
        assert sum(plan.sizes(eta ** len(rungs), eta, len(rungs))) > trials


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(["halving", "hyperband"]),
    trials=st.integers(1, 150),
    outstanding=st.integers(1, 5),
    failed=st.frozensets(st.integers(0, 149), max_size=30),
    eta=st.integers(2, 4),
)
def test_synchronous_promotions_are_the_best_of_each_full_rung(
    mode: plan.Mode, trials: int, outstanding: int, failed: frozenset[int], eta: int
) -> None:
    strategy = hyperband(mode, eta=eta, min_share=0.1, trials=trials)
    proposals = run(strategy, outstanding, failed)
    assert [p.trial for p in proposals] == list(range(trials))
    by_trial = {p.trial: p for p in proposals}
    for bracket in strategy.halving:
        for rung in range(len(bracket.sizes) - 1):
            entered = [t.trial for t in bracket.told[rung]]
            good = sorted(
                (t for t in entered if t not in failed), key=lambda t: (-score(by_trial[t].arch), t)
            )
            promoted = [p for p in proposals if p.continues in set(entered)]
            assert [p.continues for p in promoted] == good[: len(promoted)]
            assert len(promoted) == min(len(good), bracket.sizes[rung + 1])
            for p in promoted:
                assert p.continues is not None
                assert p.arch == by_trial[p.continues].arch
                assert p.trial > max(entered), "a rung is promoted from before it is complete"
                assert p.iterations == bracket.iterations[rung + 1]


@settings(max_examples=40, deadline=None)
@given(
    outstanding=st.integers(1, 5),
    failed=st.frozensets(st.integers(0, 79), max_size=20),
    eta=st.integers(2, 4),
)
def test_asynchronous_promotions_follow_the_algorithm(
    outstanding: int, failed: frozenset[int], eta: int
) -> None:
    """Li et al. 2020, algorithm 2, spelled out over the history instead of kept up to date."""
    budgets = plan.budgets(81, eta, plan.halvings(81, eta, 0.01))
    strategy = hyperband("asha", eta=eta, min_share=0.01, trials=80)
    done: list[Proposal] = []
    waiting: list[Proposal] = []
    asked: list[Proposal] = []
    while not strategy.done():
        while len(waiting) < outstanding:
            expected = None
            for k in reversed(range(len(budgets) - 1)):
                rung = [p for p in done if p.iterations == budgets[k]]
                good = sorted(
                    (p for p in rung if p.trial not in failed), key=lambda p: (-score(p.arch), p.trial)
                )
                top = [p.trial for p in good[: math.floor(len(rung) / eta)]]
                free = [t for t in top if t not in {p.continues for p in asked}]
                if free:
                    expected = (free[0], budgets[k + 1])
                    break
            proposal = strategy.ask()
            if proposal is None:
                break
            asked.append(proposal)
            waiting.append(proposal)
            got = None if proposal.continues is None else (proposal.continues, proposal.iterations)
            assert got == expected
            assert got or proposal.iterations == budgets[0]
        first = waiting.pop(0)
        done.append(first)
        strategy.tell(told(first, None if first.trial in failed else score(first.arch)))
    assert len(asked) == 80


@pytest.mark.parametrize("mode", ["halving", "hyperband", "asha"])
@pytest.mark.parametrize("outstanding", [1, 4])
def test_weights_are_kept_until_nothing_can_start_from_them(mode: plan.Mode, outstanding: int) -> None:
    strategy = hyperband(mode, min_share=0.1, trials=60)
    dropped: set[int] = set()
    finished: set[int] = set()
    waiting: list[Proposal] = []
    kept = []
    while not strategy.done():
        while len(waiting) < outstanding and (proposal := strategy.ask()) is not None:
            assert proposal.continues not in dropped
            waiting.append(proposal)
        first = waiting.pop()
        finished.add(first.trial)
        strategy.tell(told(first, score(first.arch)))
        dropped |= finished - strategy.needed()
        kept.append(len(finished - dropped))
    assert not strategy.needed()
    assert max(kept) < 40


def test_with_one_budget_it_is_random_search() -> None:
    history = play(hyperband(min_share=1.0, trials=10))
    assert {entry.iterations for kind, entry in history if kind == "ask"} == {81}
