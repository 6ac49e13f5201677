"""What is ranked, against the plainest way to say it."""

from dataclasses import replace
from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmeta.reporting.read.ranking import (
    best_so_far,
    failures,
    front_of,
    longest_trained,
    measure_of,
    value_of,
)
from nasmeta.run.ranking import ranked
from nasmeta.strategies.pareto import dominates
from nasmeta.trial import TrialResult
from tests.reporting.events_of_a_run import trial_failed, trial_finished


@st.composite
def results(draw: st.DrawFn) -> list[TrialResult]:
    """Few values, so that many are equal; regression now and then; some fail, some have unknown costs."""
    regression = draw(st.booleans())
    found = []
    for number in range(draw(st.integers(0, 12))):
        value = draw(st.sampled_from([None, 0.1, 0.2, 0.3, 0.4]))
        if value is None:
            found.append(trial_failed(number, draw(st.sampled_from(["nan", "memory"]))).result)
            continue
        result = trial_finished(number, None if regression else value, best=False, valid_loss=value).result
        costs = {name: draw(st.sampled_from([None, 10, 20, 30])) for name in ("params", "flops")}
        found.append(replace(result, iterations=draw(st.sampled_from([5, 10])), **costs))
    return found


@given(results())
def test_the_best_so_far_is_the_first_maximum_of_all_before(found: list[TrialResult]) -> None:
    expected = []
    for end in range(1, len(found) + 1):
        good = [r for r in found[:end] if r.score is not None]
        top = max(((r.iterations, r.score) for r in good), default=None)
        expected.append(next((r for r in good if (r.iterations, r.score) == top), None))
    assert best_so_far(found) == expected
    if found and expected[-1]:
        assert ranked(found)[0] == expected[-1]


@given(results())
def test_the_front_is_what_nothing_dominates(found: list[TrialResult]) -> None:
    longest = max((r.iterations for r in found if r.score is not None), default=0)
    for cost in ("params", "flops"):
        points = {
            r.trial: (-r.score, getattr(r, cost))
            for r in found
            if r.score is not None and r.iterations == longest and getattr(r, cost) is not None
        }
        expected = {  # of equals, the earliest trial
            t
            for t, p in points.items()
            if not any(dominates(q, p) or (q == p and u < t) for u, q in points.items())
        }
        front = front_of(found, attrgetter(cost))
        assert {r.trial for r in front} == expected
        assert len(front) == len(expected)
        assert [getattr(r, cost) for r in front] == sorted(getattr(r, cost) for r in front)


@given(results())
def test_every_failure_is_in_one_group(found: list[TrialResult]) -> None:
    groups = failures(found)
    failed = [r for r in found if r.status == "failed"]
    assert sorted(n for _, numbers in groups for n in numbers) == [r.trial for r in failed]
    assert [len(numbers) for _, numbers in groups] == sorted((len(n) for _, n in groups), reverse=True)
    assert all(found[n].reason == reason for reason, numbers in groups for n in numbers)


def test_only_the_longest_trained_compare() -> None:
    short = trial_finished(0, 0.9, best=True, iterations=5).result
    long = trial_finished(1, 0.8, best=True, iterations=10).result
    assert longest_trained([short, long]) == [long]
    assert best_so_far([short, long]) == [short, long]


@pytest.mark.parametrize(
    "changes,measure,value",
    [
        ({"proxy": 12.0}, "proxy", 12.0),
        ({"valid_accuracy": None}, "loss", 0.25),
        ({}, "accuracy", 0.9),
    ],
    ids=str,
)
def test_what_a_result_is_judged_by(changes: dict[str, float | None], measure: str, value: float) -> None:
    result = replace(trial_finished(1, 0.9, best=True).result, **changes)  # type: ignore[arg-type]
    assert measure_of([trial_failed(0, "nan").result, result]) == measure
    assert value_of(result, measure_of([result])) == value  # type: ignore[arg-type]


def test_nothing_is_judged_where_all_failed() -> None:
    assert measure_of([trial_failed(0, "nan").result]) is None
    assert measure_of([]) is None
