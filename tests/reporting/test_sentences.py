"""Every sentence about a result is true and reads well, whatever the numbers are."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmeta.reporting.tables.closing import closing_table
from nasmeta.reporting.tables.evaluation import control_table, evaluation_line
from nasmeta.reporting.tables.verdict import gain_of, verdict
from nasmeta.reporting.tables.winner import winner
from tests.reporting.events_of_a_run import CONV4, SMALL, side, standing, summary
from tests.reporting.stored_runs import setting

UGLY = re.compile(
    r"\b1 (tasks|seeds|trials|jobs|architectures)\b|\bNone\b|\bnan\b|  |\.\.|by 0\.0 points|-0\.0 "
    r"|\b0\.0+ times|\b1\.00 times"
)
COUNTS = st.none() | st.integers(0, 10**9)
SHARES = st.floats(0, 1)


def sides(regression: bool) -> st.SearchStrategy[dict[str, Any]]:
    accuracy = st.none() if regression else SHARES
    changes = {
        "arch": st.sampled_from([SMALL, CONV4]),
        "test_accuracy": accuracy,
        "test_loss": st.floats(0, 1e6) if regression else st.none() | st.floats(0, 9),
        "test_ci95": st.none() | SHARES,
        "test_tasks": st.none() | st.integers(1, 600),
        "params": COUNTS,
        "flops": COUNTS,
    }
    return st.fixed_dictionaries(changes).map(lambda values: side(**values))


FAILED = side(test_accuracy=None, test_loss=None, test_ci95=None, test_tasks=0, arch=CONV4)


@st.composite
def summaries(draw: st.DrawFn) -> dict[str, Any]:
    regression = draw(st.booleans())
    best = draw(sides(regression))
    failed = st.builds(lambda reason: {**FAILED, "reason": reason}, st.none() | st.sampled_from(["x", "x."]))
    reference = draw(sides(regression) | failed)
    no_reference = reference["test_accuracy"] is None and reference["test_loss"] is None
    difference = None if no_reference else draw(st.none() | st.tuples(st.floats(-1, 1), SHARES))
    chosen = "searched" if no_reference else draw(st.sampled_from(["searched", "given", "reference"]))
    if chosen == "reference":
        best, difference = reference, None
    others = draw(st.lists(st.none() | SHARES, max_size=3))
    finalists = [standing(0.9, is_reference=True), *(standing(accuracy) for accuracy in others)]
    if regression:
        finalists = [{**finalist, "valid_accuracy": None} for finalist in finalists]
    whole = summary(best, reference, difference, chosen, finalists)
    whole["kind"] = "regression" if regression else "classification"
    trials = draw(st.just(0) if chosen == "given" else st.integers(chosen == "searched", 9))
    return {
        **whole,
        "trained": draw(st.booleans()),
        "trials": trials,
        "failed_trials": draw(st.integers(0, 9)),
    }


@given(summaries())
def test_a_verdict_is_one_true_sentence(whole: dict[str, Any]) -> None:
    text = verdict(whole)
    assert not UGLY.search(text), text
    assert text.endswith(".")
    assert text.count(". ") == 0
    best, reference = whole["best"], whole["reference"]
    if reference["test_accuracy"] is None and reference["test_loss"] is None:
        assert "nothing is compared" in text
        return
    if whole["chosen"] == "reference":
        assert "the reference" in text
        assert ("The search found nothing" in text) == (whole["trials"] > 0)
        return
    assert ("searched" in text) <= (whole["chosen"] == "searched")
    gain, ci95 = gain_of(whole)
    one = 1 in (best["test_tasks"], reference["test_tasks"])
    assert ("is better than" in text) == (gain > ci95 and not one)
    assert ("is worse than" in text) == (gain < -ci95 and not one)
    assert ("as accurate as" in text) == (abs(gain) <= ci95 and not one)
    assert ("of their difference includes 0" in text) <= (whole["difference"] is not None)


@given(summaries())
def test_a_closing_table_reads_well(whole: dict[str, Any]) -> None:
    text = closing_table(whole, Path("run"))
    prose = "\n".join(line for line in text.splitlines() if "  " not in line)
    assert not UGLY.search(prose.replace("  ", " ")), prose
    rows = {
        "searched": ["searched", "reference"],
        "given": ["trained", "reference"],
        "reference": ["reference"],
    }[whole["chosen"]]
    found = re.findall(r"^(searched|trained|reference)(?! - |.*? in )", text, re.M)
    assert found == rows * 2, "in the table, and with its architecture"
    assert ("trial" in prose) == (whole["trials"] > 0)


@pytest.mark.parametrize(
    "others, trials, told",
    [
        ([0.91, 0.93], 9, "its validation accuracy is 94.0 %, the best candidate's 93.0 %"),
        ([0.91, None], 9, "the best candidate's 91.0 %"),
        ([None, None], 9, "the other finalists failed: Diverged"),
        ([], 9, "its best trial is the reference itself"),
        ([], 0, "trained network is the reference itself"),
    ],
)
def test_a_network_that_is_the_reference_is_called_so(
    others: list[float | None], trials: int, told: str, tmp_path: Path
) -> None:
    finalists = [standing(0.94, is_reference=True), *map(standing, others)]
    whole = {**summary(side(), side(), None, "reference", finalists), "trials": trials}
    text = closing_table(whole, tmp_path)
    assert told in text
    assert "times the parameters" not in text
    assert "searched" not in text
    assert text.count("93.4 ± 0.4 %") == 1


def test_the_best_candidate_is_one_of_those_trained_longest(tmp_path: Path) -> None:
    finalists = [standing(0.94, is_reference=True), standing(0.99, iterations=1000), standing(0.93)]
    text = verdict(summary(side(), side(), None, "reference", finalists))
    assert "the best candidate's 93.0 %" in text


def test_the_iteration_that_was_kept_is_a_column(tmp_path: Path) -> None:
    best = side(arch=SMALL, kept_iteration=1400, ended_iteration=1600)
    text = closing_table(summary(best, side(), None), tmp_path)
    heading, _, searched, reference, *_ = text.splitlines()
    assert heading.endswith("kept iteration")
    assert searched.endswith(" 1400 of 1600")
    assert reference.split()[-1] == "-"
    assert "kept" not in closing_table(summary(side(arch=SMALL), side(), None), tmp_path)


@pytest.mark.parametrize(
    "params, words",
    [
        (111_936, "with as many parameters"),
        (111_940, "with about as many parameters"),
        (100, "with 0.00089 times"),
        (223_872, "with 2.00 times"),
        (111_936_000_000, "with 1000000 times"),
    ],
)
def test_sizes(params: int, words: str) -> None:
    assert words in verdict(summary(side(arch=SMALL, params=params), side(), (0.02, 0.01)))


@given(
    accuracy=st.none() | SHARES,
    ci95=SHARES,
    loss=st.floats(0, 1e6),
    tasks=st.integers(1, 600),
    way=st.integers(2, 9),
)
def test_the_line_of_an_evaluation(
    accuracy: float | None, ci95: float, loss: float, tasks: int, way: int
) -> None:
    line = evaluation_line(
        accuracy=accuracy, ci95=ci95, loss=loss, tasks=tasks, way=way, shot=1, batch_norm="support"
    )
    assert not UGLY.search(line), line
    assert ("±" in line) == ("interval" in line) == (tasks > 1)


@pytest.mark.parametrize(
    "tasks, accuracy, counts", [*product([1, 600], [None, 0.9], [{}, {"a": 1}, {"a": 2, "b": 1}])]
)
def test_the_table_of_a_control(tasks: int, accuracy: float | None, counts: dict[str, int]) -> None:
    row = {
        "name": "checkpoint", "arch": "a", "params": 1, "accuracy": accuracy, "loss": 0.2, "ci95": 0.01,
        "difference": 0.0, "difference_ci95": 0.0,
    }  # fmt: skip
    other = {**row, "name": "four_conv", "difference": -0.001, "difference_ci95": 0.02}
    note = control_table({"rows": [row, other], "tasks": tasks, "architectures": counts}).splitlines()[-1]
    assert not UGLY.search(note), note
    assert ("95% intervals" in note) == (tasks > 1)


# Sweeps -------------------------------------------------------------------------------------------------


def test_a_sweep_names_its_winner() -> None:
    text = winner([setting("strategy=random", [0.90]), setting("strategy=nsga2", [0.95])])
    assert "winner is strategy=nsga2 with test accuracy 95.0 ± 1.0 %" in text
    assert "next is strategy=random with test accuracy 90.0 ± 1.0 %" in text
    assert "chance" not in text


def test_of_losses_the_least_wins() -> None:
    settings = [setting("a=1", [0.3], accuracy=False), setting("a=2", [0.1], accuracy=False)]
    assert "winner is a=2 with test MSE 0.100 ± 0.010" in winner(settings)


def test_a_lead_within_the_intervals_may_be_chance() -> None:
    """By Student's t, the mean of two has an interval of 12.7 standard errors to either side."""
    text = winner([setting("a=1", [0.90, 0.92]), setting("a=2", [0.93])])
    assert "winner is a=2" in text
    assert "a=1 with test accuracy 91.0 ± 12.7 % (mean of 2 seeds)" in text
    assert "may be chance" in text


def test_a_tie_has_no_winner() -> None:
    settings = [setting(f"a={n}", [score]) for n, score in enumerate((0.5, 0.5, 0.4))]
    assert "no single winner: a=0, a=1 tested best" in winner(settings)


@pytest.mark.parametrize("changes, name", [({"way": 20}, "way (5, 20)"), ({"dataset": "Strokes"}, "dataset")])
def test_runs_that_do_not_compare_have_no_winner(changes: dict[str, Any], name: str) -> None:
    text = winner([setting("a=1", [0.5]), setting("a=2", [0.9], **changes)])
    assert name in text
    assert "there is no winner" in text


def test_one_setting_is_no_contest() -> None:
    assert winner([setting("a=1", [0.5, 0.6])]) == ""
    assert winner([]) == ""
