"""Runs beside each other: their names, what differs, the order, means over seeds, and what to beware of."""

import math
import re
import shutil
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy import stats

from nasmeta.errors import ConfigError
from nasmeta.reporting.numbers import duration, human, percent
from nasmeta.reporting.read.differences import differing_keys, shown
from nasmeta.reporting.read.load import Run
from nasmeta.reporting.read.rows import Row, rows_of, settings_of, short_names
from nasmeta.reporting.read.statistics import mean_of
from nasmeta.reporting.tables.compare import comparison, mean_cells, warnings
from nasmeta.strategies.given import Given
from tests.reporting.stored_runs import copied, searched, summary_of

MAML = {
    "meta_learner._target_": "nasmeta.meta_learners.maml.Maml",
    "meta_learner.inner_lr": 0.1,
    "meta_learner.adapted_part": "all",
    "meta_learner.second_order": True,
}
PROTONET = {"meta_learner._target_": "nasmeta.meta_learners.protonet.ProtoNet", "meta_learner.scale": 2}


def test_only_the_keys_that_differ() -> None:
    runs = [{"seed": 0, "task.way": 5, "progress": True}, {"seed": 1, "task.way": 5, "progress": False}]
    assert differing_keys(runs) == ["seed"], "no result depends on how progress is shown"
    assert differing_keys(runs[:1]) == []
    assert differing_keys([{"a": 1}, {"a": 1, "b": 2}]) == ["b"]
    assert differing_keys([{"a": 1}, {"a": True}]) == ["a"]


def test_options_differ_by_their_name_and_their_keys_only_among_themselves() -> None:
    assert differing_keys([MAML, PROTONET]) == ["meta_learner._target_"]
    other = {**MAML, "meta_learner.inner_lr": 0.2}
    assert differing_keys([MAML, PROTONET, other]) == ["meta_learner._target_", "meta_learner.inner_lr"]
    assert shown("meta_learner._target_", MAML) == ("meta_learner", "maml")
    first_order = {**MAML, "meta_learner.second_order": False, "meta_learner.inner_lr": 0.4}
    assert shown("meta_learner._target_", first_order) == ("meta_learner", "fomaml")
    as_many_steps = {**MAML, "meta_learner.train_steps": 5, "meta_learner.test_steps": 5}
    assert shown("meta_learner._target_", as_many_steps) == ("meta_learner", "maml"), "and not ANIL"
    assert shown("meta_learner._target_", {"meta_learner._target_": "mine.Mine"}) == ("meta_learner", "Mine")
    assert shown("meta_learner.inner_lr", PROTONET) == ("meta_learner.inner_lr", "-")
    nested = [
        {
            "strategy._target_": "a.Recursive",
            "strategy.inner._target_": f"a.{inner}",
            f"strategy.inner.{key}": 1,
        }
        for inner, key in (("Evolution", "population_size"), ("Random", "draws"))
    ]
    assert differing_keys(nested) == ["strategy.inner._target_"]


@pytest.mark.parametrize("value,text", [(True, "true"), ("None", "null"), (0.1, "0.1"), ("[8]", "[8]")])
def test_values_read_as_they_are_typed(value: Any, text: str) -> None:
    assert shown("x", {"x": value}) == ("x", text)


def test_the_strategy_of_a_training_is_called_that() -> None:
    found = {"strategy._target_": f"{Given.__module__}.{Given.__qualname__}"}
    assert shown("strategy._target_", found) == ("strategy", "training")


def test_groups_that_differ_by_seed_alone() -> None:
    settings: list[dict[str, Any]] = [
        {"seed": 0, "a": 1},
        {"seed": 0, "a": 2},
        {"seed": 1, "a": 1, "progress": True},
        {"a": 2, "seed": 3},
        {"a": 2, "seed": 4},
    ]
    scores = [0.9, 0.8, 0.7, 0.6, None]
    rows = [
        Row(
            str(n),
            Run(Path(str(n)), "done", config),
            {"seed": config["seed"], "test_loss": None, "reference_test_loss": None, "test_ci95": 0.1}
            | {"is_reference": score == 0.9, "difference": None if score == 0.9 else 0.1}
            | dict.fromkeys(("test_accuracy", "reference_test_accuracy"), score),
            {},
            {},
        )
        for n, (config, score) in enumerate(zip(settings, scores, strict=True))
    ]
    groups = settings_of(rows)
    names = [[row.name for row in group.rows] for group in groups]
    assert names == [["0", "2"], ["1", "3"]], "and what is not tested is in none"
    assert [group.test.mean for group in groups] == pytest.approx([0.8, 0.7])
    gains = [group.difference.mean for group in groups if group.difference is not None]
    assert gains == pytest.approx([0.05, 0.1]), "a search that ends with the reference has gained nothing"
    texts = [mean_cells(group)["difference"] for group in groups]
    assert [text.endswith("(1 of 2 the reference)") for text in texts] == [True, False]
    rows[2].numbers["is_reference"] = True
    assert mean_cells(settings_of(rows)[0])["difference"] == "is the reference"


def test_means() -> None:
    values = [0.5, 0.7, 0.9]
    found = mean_of([0.5, None, 0.7, 0.9])
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(fmean(values)), 3)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.ci95 == pytest.approx((high - low) / 2)
    assert mean_of([None]) is None
    alone = mean_of([0.5])
    assert alone is not None
    assert alone.ci95 is None


def test_names_are_what_distinguishes_the_paths() -> None:
    days = [Path("/o/24/10-00"), Path("/o/24/11-00")]
    assert short_names(days) == ["10-00", "11-00"]
    assert short_names([*days, Path("/o/25/10-00")]) == ["24/10-00", "24/11-00", "25/10-00"]
    assert short_names([Path("/o/24/10-00")]) == ["10-00"]


def cells_of(table: str, *names: str) -> list[list[str]]:
    """The cells of a table's lines in the columns of these names."""
    header, rule, *lines = table.splitlines()
    ends = [len("".join(rule[:n])) for n, c in enumerate(rule + " ") if c == " " and rule[n - 1] == "-"]
    starts = [0, *(end + 2 for end in ends[:-1])]
    spans = list(zip(starts, ends, strict=True))
    titles = [header[a:b].strip() for a, b in spans]
    wanted = [spans[titles.index(name)] for name in names]
    return [[line[a:b].strip() for a, b in wanted] for line in lines]


def test_the_table_has_the_numbers_of_the_summaries(sweep: Path) -> None:
    table = comparison(rows_of([sweep], None))
    names = (
        "run",
        "strategy",
        "seed",
        "test accuracy",
        "reference",
        "parameters",
        "FLOPs",
        "trials",
        "wall time",
    )
    rows = cells_of(table, *names)[:6]
    for number, (row, (strategy, seed)) in enumerate(
        zip(
            rows,
            [(s, n) for n in "01" for s in ("random", "evolution", "nsga2")],
            strict=True,
        )
    ):
        summary = summary_of(sweep / str(number))
        best, reference = summary["best"], summary["reference"]
        assert row == [
            str(number), strategy, seed,
            percent(best["test_accuracy"], best["test_ci95"]),
            percent(reference["test_accuracy"], reference["test_ci95"]),
            human(best["params"]), human(best["flops"]), "8", duration(summary["wall_seconds"]),
        ]  # fmt: skip
    assert "status" not in table.splitlines()[0], "all are done"
    assert not warnings(rows_of([sweep], None))


def test_a_line_more_for_each_group_over_seeds(sweep: Path) -> None:
    lines = cells_of(comparison(rows_of([sweep], None)), "run", "strategy", "test accuracy")[6:9]
    for n, (name, _, test) in enumerate(lines):
        scores = [summary_of(sweep / str(job))["best"]["test_accuracy"] for job in (n, n + 3)]
        assert name == "mean of 2 seeds"
        assert test == percent(fmean(scores), 12.706 * stdev(scores) / 2**0.5)
    assert [strategy for _, strategy, _ in lines] == ["random", "evolution", "nsga2"]


def test_a_run_made_twice_counts_once(sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(sweep / "0", tmp_path / "again")
    table = comparison(rows_of([sweep / "0", sweep / "3", tmp_path / "again"], None))
    assert "mean of 2 seeds" in table
    assert "mean" not in comparison(rows_of([sweep / "0", sweep / "1"], None))


def test_runs_that_have_not_ended_are_listed_as_far_as_they_are(
    table_run: Path, failed_run: Path, sweep: Path, tmp_path: Path
) -> None:
    going_on = copied(table_run, tmp_path / "going_on", lines=20)
    rows = rows_of([going_on, failed_run, table_run], None)
    status = cells_of(comparison(rows), "status", "validation", "test accuracy", "failed")[:3]
    best = max((r["valid_accuracy"], r["valid_ci95"]) for r in searched(going_on))
    assert status[0] == ["unfinished", percent(*best), "-", "0"]
    assert status[1] == ["failed", "-", "-", "20"]
    assert status[2][0] == "done"
    assert re.search(r"all 20 trials .*: Diverged", comparison(rows))
    assert rows[0].to_dict()["valid_accuracy"] == best[0]
    assert rows[0].to_dict()["test_accuracy"] is None


def test_an_unreadable_run_in_a_folder_is_named(table_run: Path, tmp_path: Path) -> None:
    copied(table_run, tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "journal.jsonl").write_text("junk\nmore\n")
    table = comparison(rows_of([tmp_path], None))
    assert cells_of(table, "run", "status")[:2] == [["bad", "unreadable"], ["good", "done"]]
    assert re.search(r"^bad: .*journal\.jsonl.* line 1 ", table.splitlines()[-1])


@pytest.mark.parametrize(
    "changes,told",
    [
        ({"task": {"way": 7}}, "way (5, 7)"),
        ({"task": {"shot": 2}}, "shot (5, 2)"),
        ({"batch_norm": "running"}, "batch_norm (support, running)"),
        ({"seed": 3, "budget": {"test_tasks": 9}}, ""),
    ],
    ids=str,
)
def test_scores_that_do_not_compare_are_said(
    changes: dict[str, Any], told: str, sine_run: Path, tmp_path: Path
) -> None:
    def changed(record: dict[str, Any]) -> dict[str, Any]:
        if "config" not in record:
            return record
        config = dict(record["config"])
        for key, value in changes.items():
            config[key] = {**config[key], **value} if isinstance(value, dict) else value
        return {**record, "config": config}

    def tested(summary: dict[str, Any]) -> dict[str, Any]:
        policy = changes.get("batch_norm", "support")
        return {**summary, "best": {**summary["best"], "batch_norm": policy}}

    rows = rows_of([sine_run, copied(sine_run, tmp_path / "run", change=changed, summary=tested)], None)
    found = warnings(rows)
    assert len(found) == bool(told)
    assert all(told in line for line in found)
    assert all(line in comparison(rows) for line in found)


def test_runs_on_other_test_data_do_not_compare(sine_run: Path, tmp_path: Path) -> None:
    def changed(record: dict[str, Any]) -> dict[str, Any]:
        if not record.get("data"):
            return record
        test = {**record["data"]["test"], "fingerprint": "another"}
        return {**record, "data": {**record["data"], "test": test}}

    other = copied(sine_run, tmp_path / "run", change=changed)
    (told,) = warnings(rows_of([sine_run, other], None))
    assert "test_data (" in told
    assert "another" in told


def test_losses_are_no_accuracies(sine_run: Path, table_run: Path) -> None:
    alone = comparison(rows_of([sine_run], None))
    best, reference = (summary_of(sine_run)[side]["test_loss"] for side in ("best", "reference"))
    ((test, difference),) = cells_of(alone, "test MSE", "difference")
    assert test.startswith(f"{best:.3f} ± ")
    assert float(difference.split(" ")[0]) == pytest.approx(best - reference, abs=5e-4)
    both = comparison(rows_of([sine_run, table_run], None)).splitlines()[0].split("  ")
    assert "test" in [title.strip() for title in both]


@pytest.mark.parametrize(
    "key,expected",
    [
        ("test_accuracy", lambda row: -row.numbers["test_accuracy"]),
        ("params", lambda row: row.numbers["params"]),
        ("wall_seconds", lambda row: row.numbers["wall_seconds"]),
        ("name", lambda row: row.name),
        ("strategy._target_", lambda row: row.run.settings["strategy._target_"]),
        ("difference", lambda row: -(row.numbers["difference"] or -math.inf)),  # none for a reference
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sorting(key: str, expected: Any, sweep: Path) -> None:
    rows = rows_of([sweep], key)
    assert [expected(row) for row in rows] == sorted(expected(row) for row in rows)
    found = rows_of([sweep], None)
    assert [row.name for row in found] == [str(n) for n in range(6)]
    in_order = [row.name for row in sorted(found, key=expected)]
    assert [row.name for row in rows] == in_order, "equal ones stay in their order"


def test_what_is_not_known_comes_last(table_run: Path, failed_run: Path) -> None:
    rows = rows_of([failed_run, table_run], "params")
    assert [row.run.status for row in rows] == ["done", "failed"]


def test_an_unknown_key_to_sort_by(sweep: Path) -> None:
    with pytest.raises(ConfigError, match=r"--sort test_acuracy: .*'test_accuracy'"):
        rows_of([sweep], "test_acuracy")


def test_the_table_shows_few_settings_and_says_that_there_are_more(sine_run: Path, table_run: Path) -> None:
    rows: list[Row] = rows_of([sine_run, table_run], None)
    options = [key for key in rows[0].settings if key.endswith("._target_")]
    assert list(rows[0].shown)[: len(options)] == [key.removesuffix("._target_") for key in options]
    left = len(rows[0].settings) - 6
    assert left > 0
    assert re.search(rf"^{left} .*--json", comparison(rows), re.M)


def test_what_was_typed_alike_is_shown_as_it_was_typed(sweep: Path, tmp_path: Path) -> None:
    assert [row.shown for row in rows_of([sweep])][:2] == [
        {"seed": "0", "strategy": "random"},
        {"seed": "0", "strategy": "evolution"},
    ]
    other = {"budget": {"trials": 9}}

    def changed(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "config": {**record["config"], **other}} if "config" in record else record

    rows = rows_of([sweep / "0", copied(sweep / "0", tmp_path / "0", change=changed)])
    assert [row.shown["budget.trials"] for row in rows] == ["8", "9"], "the configuration has another default"
