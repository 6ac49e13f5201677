import io
import logging
import os
import sys
import time

import pytest

from nasmeta.reporting.progress import Progress
from nasmeta.run.events import Announcer, Event, TrialReading
from tests.reporting.events_of_a_run import (
    run_finished,
    run_started,
    trial_failed,
    trial_finished,
    trial_started,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(*steps: Event | float) -> list[str]:
    """The lines printed for events; a number lets so many seconds pass."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    for step in steps:
        if isinstance(step, float):
            clock.now += step
        else:
            progress(step)
    return stream.getvalue().splitlines()


def test_a_line_for_the_start_and_for_every_trial() -> None:
    lines = lines_of(
        run_started(),
        trial_started(0),
        10.0,
        trial_finished(0, 0.9, best=True),
        trial_started(1),
        20.0,
        trial_finished(1, 0.95, best=True),
        trial_finished(2, 0.85, best=False),
        run_finished(),
    )
    shortened = "conv3-64.bn.relu.max_conv3-64.bn.relu.m…4.bn.relu.max_flatten"
    arch = next(word for word in lines[1].split() if word.startswith("conv3"))
    assert len(arch.rstrip(":")) == 60
    assert arch[:39] == shortened[:39]
    assert lines[0] == "search of 3 trials in outputs/run (batch_norm: support)"
    assert lines[1].startswith("[1/3] trial 0 conv3-64")
    assert lines[1].endswith(
        "flatten: valid 90.0 ± 0.8 %, 111.9 K parameters, 41 s; best 90.0 %; about 1 min left"
    )
    assert lines[2].endswith("best 95.0 %; about 1 min 15 s left")
    assert lines[3].startswith("[3/3] trial 2 ")
    assert lines[3].endswith("valid 85.0 ± 0.8 %, 111.9 K parameters, 41 s; best 95.0 %; about 40 s left")
    assert len(lines) == 4


def test_a_failed_trial_says_why_in_one_line() -> None:
    lines = lines_of(run_started(), trial_failed(0, "the loss is nan\nat iteration 7"))
    assert lines[1].startswith("[1/3] trial 0 conv3-64")
    assert ": failed: the loss is nan at iteration 7" in lines[1]
    assert len(lines) == 2


def test_a_resumed_run_goes_on_counting_and_estimates_from_this_session() -> None:
    lines = lines_of(
        run_started(trials=10, finished=7, resumed=True), 30.0, trial_finished(7, 0.9, best=False)
    )
    assert "7 of 10 trials" in lines[0]
    assert lines[1].startswith("[8/10] trial 7 ")
    assert "best" not in lines[1]  # it was found before, and 90.0 % is not it
    assert lines[1].endswith("about 3 min left")


def test_readings_come_at_most_every_half_minute() -> None:
    readings = [TrialReading("search", 0, i, 100, 0.5, 0.8) for i in (10, 20, 30, 40)]
    lines = lines_of(
        run_started(), trial_started(0), readings[0], 29.0, readings[1], 1.0, readings[2], 29.9, readings[3]
    )
    assert lines[1:] == ["trial 0: iteration 30/100, train loss 0.500, train accuracy 80.0 %"]


def test_full_trainings_are_named_and_not_counted() -> None:
    full = {"iterations": 20, "train_seconds": 80.0, "seconds": 81.0}
    lines = lines_of(
        run_started(trials=1),
        41.0,
        trial_finished(0, 0.9, best=True),
        trial_started(0, "final", "a", 20),
        81.0,
        trial_finished(0, 0.91, best=True, phase="final", **full),
        trial_started(0, "reference", "b", 20),
        81.0,
        trial_finished(0, 0.92, best=False, phase="reference", **full),
    )
    assert lines[2] == "final trial 0: training a for 20 iterations"
    assert lines[3].startswith("final trial 0 conv3")
    assert lines[4] == "reference: training b for 20 iterations"
    assert lines[5].startswith("reference conv3")
    left = [line.rpartition("about ")[2] for line in lines if "left" in line]
    assert left == ["2 min 44 s left", "1 min 23 s left", "2.0 s left"], "trainings and the test"


def test_regression_shows_losses() -> None:
    lines = lines_of(
        run_started(), 40.0, TrialReading("search", 0, 1, 2, 1.5, None), trial_finished(0, None, best=True)
    )
    assert lines[1] == "trial 0: iteration 1/2, train loss 1.500"
    assert "valid loss 0.250 ± 0.008, " in lines[2]
    assert "best 0.250" in lines[2]


def test_full_trainings_side_by_side_have_one_bar_at_a_time() -> None:
    terminal = Terminal()
    progress = Progress(terminal)
    progress(run_started(trials=1, finished=1, resumed=True))
    progress(trial_started(0, "reference"))
    progress(trial_started(0, "final"))
    progress(TrialReading("final", 0, 10, 10, 0.1, 0.97))
    progress(TrialReading("reference", 0, 5, 10, 0.1, 0.97))
    progress(trial_finished(0, 0.91, best=False, phase="reference"))
    progress(trial_started(1, "final"))
    progress(trial_finished(0, 0.95, best=False, phase="final"))
    progress(trial_finished(1, 0.94, best=False, phase="final"))
    progress.close()
    text = terminal.getvalue()
    line = next(line for line in text.split("\n") if "final trial 0 conv3" in line)
    assert ": valid 95.0 ± 0.8 %, " in line, "which had no bar"
    assert "final trial 0:   0%" not in text
    for bar, valid in {"reference": "91.0 ±", "final trial 1": "94.0 ±"}.items():
        assert f"{bar}:   0%" in text
        assert f"valid {valid}" in text


def test_bars_on_a_terminal() -> None:
    terminal = Terminal()
    progress = Progress(terminal)
    progress(run_started(trials=9, finished=4, resumed=True))
    progress(trial_started(4))
    progress(trial_started(5))  # a second one in flight: the bar stays with the first
    progress(TrialReading("search", 4, 5, 10, 0.4, 0.882))
    time.sleep(0.15)  # tqdm draws every 0.1 s
    progress(TrialReading("search", 5, 9, 10, 0.4, 0.111))
    progress(trial_finished(4, 0.934, best=True))
    progress(TrialReading("search", 5, 9, 10, 0.4, 0.123))  # now it is the other's turn
    progress(trial_failed(5, "no memory"))
    progress(trial_started(4, "final"))
    progress(TrialReading("final", 4, 10, 10, 0.1, 0.97))
    progress(trial_finished(4, 0.95, best=True, phase="final"))
    progress(trial_started(0, "reference"))
    progress(run_finished())
    progress.close()
    text = terminal.getvalue()
    for part in (
        "4/9",
        "6/9",
        "trial 4: ",
        "trial 5: ",
        "best valid 93.4 ± 0.8 %, 1 failed",
        "[6/9] trial 5 conv3",
        ": failed: no memory; best 93.4 %",
    ):
        assert part in text
    assert "accuracy 11.1 %" not in text
    for part in ("final trial 4: ", ", valid 95.0 ± 0.8 %", "reference: "):
        assert part in text


def test_a_terminal_of_no_height_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((0, 0)))
    Progress(terminal)(run_started())
    assert terminal.getvalue() == "search of 3 trials in outputs/run (batch_norm: support)\n"


def test_log_lines_do_not_break_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("nasmeta.test_progress")
    logger.addHandler(handler)
    logger.propagate = False
    last_resort = logging.lastResort
    try:
        progress = Progress(terminal)
        progress(run_started())
        logger.info("too quiet for this handler")
        logger.warning("a warning")
        lines = terminal.getvalue().split("\r")
        assert "a warning\n" in lines[-2] + lines[-1]  # on a line of its own, the bar cleared before it
        assert "too quiet" not in terminal.getvalue()
        progress.close()
        assert handler.stream is terminal
        assert logging.lastResort is last_resort
    finally:
        logger.removeHandler(handler)


def test_an_observer_that_fails_is_reported_once_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    stream, calls = io.StringIO(), []

    def broken(event: Event) -> None:
        calls.append(event)
        raise OSError("disk full")

    announce = Announcer([broken, Progress(stream)])
    announce(run_started())
    announce(trial_finished(0, 0.9, best=True))
    assert len(calls) == 1
    assert len(stream.getvalue().splitlines()) == 2
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "disk full" in warnings[0].getMessage()
    assert "disk full" in caplog.text
