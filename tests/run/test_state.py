"""What the events of a journal add up to."""

import json
from pathlib import Path
from typing import Any

import pytest

from nasmeta.errors import RunDirectoryError
from nasmeta.run import records
from nasmeta.run.journal import Journal
from nasmeta.run.records import JournalEvent, Measured, Searched, Started, Uncountable, parse
from nasmeta.run.state import FAILURES_IN_A_ROW, RunState
from tests.run.events import asked, finished

EVENTS: list[JournalEvent] = [
    Started(event="started", at=1.0, config={"seed": 0}),
    asked(0),
    asked(1),
    Measured(arch="arch-1", ms=3.0),
    finished(1, 0.5, elapsed=4.0),
    finished(0, None, elapsed=7.0),
    asked(2, continues=1),
    Uncountable(arch="huge", reason="MemoryError"),
    finished(2, 0.7, elapsed=9.0),
    Searched(elapsed=9.5),
    finished(0, 0.9, "final", elapsed=12.0),
    finished(0, 0.8, "reference", elapsed=13.0),
    records.Tested(arch="arch-2", checksum=7, elapsed=14.0),
]


def test_everything_that_has_happened_is_in_the_state() -> None:
    state = RunState.replay(EVENTS)
    assert [result.trial for result in state.searched] == [1, 0, 2]
    assert state.best is not None
    assert state.best.trial == 2, "of the search alone, however good the final trainings are"
    assert (state.latencies, state.uncountable) == ({"arch-1": 3.0}, {"huge"})
    assert state.asked[2].start == 1
    assert (state.elapsed, state.simulated_seconds) == (14.0, 6.0)
    assert state.has_searched
    assert state.tested is not None
    assert state.tested.checksum == 7
    assert state.hopeless is None


def test_the_search_phase_has_a_clock_of_its_own() -> None:
    more = Started(event="extended", at=2.0, config={"seed": 0}, added={"budget.max_seconds": [9, 20]})
    again = [more, asked(3), finished(3, 0.1, elapsed=16.5)]
    assert RunState.replay(EVENTS).search_seconds == 9.5
    state = RunState.replay([*EVENTS, *again])
    assert (state.search_seconds, state.elapsed) == (12.0, 16.5)
    state = RunState.replay(
        [*EVENTS, *again, Searched(elapsed=17.0), finished(1, 0.2, "final", elapsed=30.0)]
    )
    assert (state.search_seconds, state.elapsed) == (12.5, 30.0)


@pytest.mark.parametrize("cut", range(len(EVENTS) + 1))
def test_live_and_replayed_runs_have_the_same_state(tmp_path: Path, cut: int) -> None:
    """Through the file: what was applied as it happened, and what is read back."""
    live = RunState(("params",))
    with Journal(tmp_path / "journal.jsonl") as journal:
        for event in EVENTS[:cut]:
            live.apply(event)
            journal.append(event.event, **event.values())
    with Journal(tmp_path / "journal.jsonl") as journal:
        events = parse(journal.path, journal.records)
    assert events == EVENTS[:cut]
    replayed = RunState.replay(events, ("params",))
    assert live.front is not None
    assert replayed.front is not None
    assert live.front.trials == replayed.front.trials
    assert {k: v for k, v in vars(replayed).items() if k != "front"} == {
        k: v for k, v in vars(live).items() if k != "front"
    }


def test_of_equal_trials_the_first_stays_the_best() -> None:
    state = RunState.replay([finished(0, 0.5), finished(1, 0.5), finished(2, None)])
    assert state.best is not None
    assert state.best.trial == 0


def test_a_longer_training_is_better_than_a_higher_score() -> None:
    state = RunState.replay([finished(0, 0.9, iterations=5), finished(1, 0.5)])
    assert state.best is not None
    assert state.best.trial == 1


def test_the_front_weighs_the_costs_by_objective() -> None:
    events = [
        finished(0, 0.5, latency_ms=9.0),
        finished(1, 0.4, latency_ms=1.0),
        finished(2, 0.3, latency_ms=2.0),
    ]
    front = RunState.replay(events, ("latency",)).front
    assert front is not None
    assert [(m.result.trial, m.costs) for m in front.members] == [
        (0, {"latency": 9.0}),
        (1, {"latency": 1.0}),
    ]


def test_a_search_is_hopeless_if_all_of_its_first_trials_fail() -> None:
    failures = [finished(trial, None) for trial in range(FAILURES_IN_A_ROW)]
    assert RunState.replay(failures[:-1]).hopeless is None
    assert "the last one: Diverged" in str(RunState.replay(failures).hopeless)
    assert RunState.replay([finished(99, 0.1), *failures]).hopeless is None


FINISHED = {"event": "finished", **finished(0, 0.5).values()}


@pytest.mark.parametrize(
    "line,named",
    [
        ({"event": "asked", "trial": 0, "arch": "a"}, "iterations"),
        ({"event": "asked", "trial": -1, "arch": "a", "iterations": 3}, "trial"),
        ({"event": "measured", "arch": "a", "ms": 1e300}, "ms"),
        ({"event": "searched", "elapsed": -1.0}, "elapsed"),
        ({"event": "dreamt"}, "dreamt"),
        ({**finished(0, 0.5).values(), "event": "finished", "params": "many"}, "params"),
        (
            {**finished(0, 0.5).values(), "event": "finished", "valid_accuracy": float("nan")},
            "valid_accuracy",
        ),
        ({**finished(0, 0.5).values(), "event": "finished", "phase": "lost"}, "phase"),
    ],
)
def test_a_line_that_no_run_writes_is_named(line: dict[str, Any], named: str) -> None:
    with pytest.raises(RunDirectoryError, match=rf"journal\.jsonl: line 1: .*{named}") as caught:
        parse(Path("journal.jsonl"), [line])
    assert "\n" not in str(caught.value)


def test_a_finished_line_has_the_result_beside_its_own_values() -> None:
    line = json.loads(json.dumps(finished(3, 0.5, elapsed=2.0).values()))
    assert (line["trial"], line["valid_accuracy"], line["phase"], line["elapsed"]) == (3, 0.5, "search", 2.0)
    assert "hypervolume" not in line, "only what is known is written"
