from pathlib import Path

import pytest

from nasmeta.reporting.numbers import duration, error, human, measured, percent, probability, shorten
from nasmeta.reporting.tables.closing import closing_table
from nasmeta.reporting.tables.evaluation import evaluation_line
from nasmeta.reporting.tables.verdict import verdict
from tests.reporting.events_of_a_run import SMALL, side, summary


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0"),
        (999, "999"),
        (111_936, "111.9 K"),
        (999_960, "1.0 M"),
        (21_300_000, "21.3 M"),
        (2e9, "2.0 G"),
    ],
)
def test_human_counts(count: float, text: str) -> None:
    assert human(count) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.44, "0.4 s"),
        (41.2, "41 s"),
        (59.7, "1 min"),
        (723, "12 min 3 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_percent_and_errors() -> None:
    assert percent(0.934, 0.004) == "93.4 ± 0.4 %"
    assert percent(1.0) == "100.0 %"
    assert error(0.1234, 0.0101) == "0.123 ± 0.010"
    assert error(0.00123, 0.0001) == "0.0012 ± 0.0001"
    assert error(float("nan")) == "nan"
    assert error(0.0) == "0.000"
    assert measured(None, None) == "-"


def test_probabilities() -> None:
    given = (0.0, 0.0009, 0.001, 0.0314, 1.0, float("nan"))
    assert [probability(p) for p in given] == ["< 0.001", "< 0.001", "0.001", "0.031", "1.000", "-"]


def test_shorten_keeps_both_ends() -> None:
    text = shorten("a" * 50 + "\n" + "b" * 50, 60)
    assert len(text) == 60
    assert text.startswith("a" * 39 + "…")
    assert text.endswith("b" * 20)
    assert shorten("short", 60) == "short"


def test_the_table_of_a_better_network(tmp_path: Path) -> None:
    best = side(arch=SMALL, test_accuracy=0.953, test_ci95=0.003, params=80_000)
    text = closing_table(summary(best, side(), (0.019, 0.005)), tmp_path)
    header, _, searched, reference, *_ = text.splitlines()
    assert header.split() == [
        "test", "accuracy", "tasks", "batch_norm", "parameters", "FLOPs", "meta-training",
    ]  # fmt: skip
    assert searched.split("  ")[0] == "searched"
    for part in ("95.3 ± 0.3 %", "600", "support", "80.0 K", "21.3 M", "12 min 3 s"):
        assert part in searched
    for part in ("93.4 ± 0.4 %", "600", "support", "111.9 K"):
        assert part in reference
    assert "searched - reference, on the same tasks: +1.9 ± 0.5 points (95% interval)" in text
    assert "better than the reference by 1.9 points, with 0.71 times the parameters." in text
    assert f"searched:  {SMALL}" in text
    assert f"20 trials (1 of them failed) in 1 h 2 min: {tmp_path}" in text


def test_commands_are_offered_where_they_work(tmp_path: Path) -> None:
    run = tmp_path / "a run"
    (run / "tensorboard").mkdir(parents=True)
    content = summary(side(), side(), None)
    text = closing_table(content, run)
    assert f"  tensorboard --logdir '{run}'" in text
    assert "nasmeta" not in text.split("20 trials ")[1]
    (run / "best.pt").touch()
    assert f"  nasmeta evaluate '{run}/best.pt'" in closing_table(content, run)
    assert f"  nasmeta predict '{run}/best.pt' --support" in closing_table(content, run)
    regression = side(test_accuracy=None)
    assert "predict" not in closing_table(summary(regression, regression, None), run)
    (run / "journal.jsonl").touch()
    assert f"  nasmeta report '{run}'" in closing_table(content, run)
    assert f"  nasmeta resume '{run}' budget.trials=8" in closing_table(content, run, more="budget.trials=8")


def test_the_table_without_a_reference(tmp_path: Path) -> None:
    text = closing_table(summary(side(), None, None), tmp_path)
    assert "searched" in text
    assert "reference" not in text


def test_equally_accurate_and_at_most_half_the_size_is_a_gain() -> None:
    text = verdict(summary(side(arch=SMALL, test_accuracy=0.932, params=55_968), side(), (-0.002, 0.003)))
    assert text == (
        "The searched network is as accurate as the reference "
        "(the 95% interval of their difference includes 0), "
        "with 0.50 times the parameters."
    )


def test_equally_accurate_and_larger_than_half_is_no_gain() -> None:
    text = verdict(summary(side(arch=SMALL, test_accuracy=0.936, params=56_100), side(), (0.002, 0.003)))
    assert text.startswith("The search found nothing better: its network is as accurate as the reference")


def test_worse_is_called_worse_however_small() -> None:
    text = verdict(summary(side(arch=SMALL, test_accuracy=0.90, params=10_000), side(), (-0.034, 0.005)))
    assert (
        text
        == "The searched network is worse than the reference by 3.4 points, with 0.089 times the parameters."
    )
    near = verdict(summary(side(arch=SMALL, test_accuracy=0.930, params=10_000), side(), (-0.004, 0.003)))
    assert "by 0.4 points (on the same tasks; their own 95% intervals overlap), with 0.089 times" in near


@pytest.mark.parametrize(
    "accuracy, words",
    [(0.943, "is better"), (0.941, "as accurate"), (0.927, "as accurate"), (0.925, "worse")],
)
def test_without_a_paired_difference_the_intervals_decide(accuracy: float, words: str) -> None:
    content = summary(side(arch=SMALL, test_accuracy=accuracy, params=10_000), side(), None)
    assert words in verdict(content)


def test_regression_compares_errors_and_less_is_better(tmp_path: Path) -> None:
    nothing = {"valid_accuracy": None, "test_accuracy": None}
    best = side(arch=SMALL, **nothing, test_loss=0.123, test_ci95=0.010)
    content = summary(best, side(**nothing, test_loss=0.205, test_ci95=0.012), (-0.082, 0.009))
    text = closing_table(content, tmp_path)
    assert "test MSE" in text
    assert "0.123 ± 0.010" in text
    assert "-0.082 ± 0.009 (95% interval)" in text
    assert "better than the reference by 0.082 in MSE, with as many parameters." in text
    worse = {**content, "difference": {"mean": 0.05, "ci95": 0.01}}
    assert "worse than the reference by 0.050" in verdict(worse)


def test_the_line_of_an_evaluation() -> None:
    common = {"tasks": 600, "way": 5, "shot": 1, "batch_norm": "support"}
    assert evaluation_line(accuracy=0.934, ci95=0.004, loss=0.2, **common) == (
        "accuracy 93.4 ± 0.4 % (95% interval over 600 tasks), 5-way 1-shot, batch_norm support"
    )
    assert evaluation_line(accuracy=None, ci95=0.01, loss=0.123, **common) == (
        "MSE 0.123 ± 0.010 (95% interval over 600 tasks), 1-shot regression, batch_norm support"
    )


def test_the_calibration_is_said_before_and_after(tmp_path: Path) -> None:
    calibration = {
        "temperature": 2.5, "bins": 15, "raw_error": 0.12, "error": 0.034, "raw_loss": 0.9, "loss": 0.75,
        "rejects_aimed_at": 0.1, "false_rejects": 0.08, "false_accepts": 0.42,
    }  # fmt: skip
    common = {"loss": 0.2, "tasks": 600, "way": 5, "shot": 1, "batch_norm": "support"}
    for text in (
        closing_table({**summary(side(), side(), None), "calibration": calibration}, tmp_path),
        evaluation_line(accuracy=0.934, ci95=0.004, **common, calibration=calibration),
    ):
        assert "12.0 -> 3.4 points" in text
        assert "0.900 -> 0.750" in text
        assert "false rejects 8.0 % (aimed at 10 %), false accepts 42.0 %" in text
    for unknown in ({"false_accepts": None}, {"false_accepts": None, "false_rejects": None}):
        text = evaluation_line(accuracy=0.934, ci95=0.004, **common, calibration={**calibration, **unknown})
        assert "false accepts" not in text
        assert ("false rejects" in text) == ("false_rejects" not in unknown)
