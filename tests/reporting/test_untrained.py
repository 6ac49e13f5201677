"""Runs whose trials train nothing: proxies under their own name, and what a table leaves open."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nasmeta.reporting.numbers import judged, score
from nasmeta.reporting.progress import Progress
from nasmeta.reporting.tables.closing import closing_table
from nasmeta.reporting.tables.verdict import verdict
from tests.reporting.events_of_a_run import SMALL, run_started, side, summary, trial_finished, trial_started
from tests.reporting.test_tensorboard import scalars, written

PROXY: dict[str, Any] = {"proxy": 1234.5678, "valid_loss": None, "valid_ci95": None}
UNKNOWN: dict[str, Any] = {
    "params": None,
    "flops": None,
    "test_ci95": None,
    "test_tasks": None,
    "test_loss": None,
}


def test_a_proxy_is_shown_as_one() -> None:
    result = trial_finished(0, None, best=True, **PROXY).result
    assert (judged(result), score(result)) == ("proxy 1235", "1235")
    assert judged(replace(result, proxy=None, valid_accuracy=0.9, valid_ci95=0.01)) == "valid 90.0 ± 1.0 %"


def test_lines_of_a_proxy_and_of_a_table() -> None:
    stream = io.StringIO()
    progress = Progress(stream, lambda: 0.0)
    progress(run_started())
    progress(trial_finished(0, None, best=True, **PROXY))
    progress(trial_finished(1, 0.9, best=True, valid_ci95=None, params=None, flops=None))
    lines = stream.getvalue().splitlines()
    assert "proxy 1235, 111.9 K parameters" in lines[1]
    assert "best 1235" in lines[1]
    assert ": valid 90.0 %, 41 s; best 90.0 %" in lines[2]


def test_tensorboard_keeps_proxies_and_accuracies_apart(tmp_path: Path) -> None:
    read = written(
        tmp_path,
        replace(run_started(), episode=None),
        trial_started(0),
        trial_finished(0, None, best=True, **PROXY),
        trial_started(0, "final"),
        trial_finished(0, 0.9, best=False, phase="final"),
    )
    assert scalars(read, "search/proxy") == [(0, 1234.5678)]
    assert scalars(read, "search/best_proxy") == [(0, 1234.5678)]
    assert scalars(read, "final/0/valid_accuracy") == [(10, 0.9)]
    tags = set(read.Tags()["scalars"])
    assert not tags & {"search/valid_accuracy", "search/valid_loss", "search/best_valid_accuracy"}
    assert "episode/support_and_query" not in read.Tags()["images"]


@pytest.mark.parametrize(
    "accuracy,words",
    [
        (0.95, "The searched network is better than the reference by 1.6 points."),
        (0.93, "The searched network is worse than the reference by 0.4 points."),
        (0.934, "The search found nothing better: its network is as accurate as the reference."),
    ],
)
def test_the_verdict_of_a_table_without_intervals_and_costs(accuracy: float, words: str) -> None:
    table = summary(
        side(arch=SMALL, **UNKNOWN, test_accuracy=accuracy), side(**UNKNOWN, test_accuracy=0.934), None
    )
    assert verdict(table) == words


def test_the_closing_table_of_a_table_run(tmp_path: Path) -> None:
    best = side(arch=SMALL, **UNKNOWN, batch_norm=None)
    whole = {
        **summary(best, side(**UNKNOWN, batch_norm=None), None),
        "trained": False,
        "simulated_seconds": 40_000.0,
    }
    text = closing_table(whole, tmp_path)
    row = next(line for line in text.splitlines() if line.startswith("searched"))
    assert row.split() == ["searched", "93.4", "%", "-", "-", "-", "-", "12", "min", "3", "s"]
    assert "in 1 h 2 min (a simulated 11 h 6 min): " in text
    assert "No network was trained" in text
    nothing = side(**{**UNKNOWN, "test_accuracy": None}, reason="the table has no row of x")
    text = closing_table({**whole, "reference": nothing}, tmp_path)
    assert "The reference could not be judged, so nothing is compared: the table has no row of x." in text
