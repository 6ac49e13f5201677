"""Runs that differ by seed alone, together: tables for papers, mean curves, tests on the same tasks."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from scipy import stats

from nasmeta.errors import RunFailed
from nasmeta.reporting.figures.settings import means_figure, scores_figure
from nasmeta.reporting.read.differences import differing_keys
from nasmeta.reporting.read.load import Run
from nasmeta.reporting.read.rows import Row, Setting, rows_of, settings_of
from nasmeta.reporting.tables.compare import warnings
from nasmeta.reporting.tables.paired import paired_rows
from nasmeta.reporting.tables.paper import paper_table
from nasmeta.training import checkpoint
from tests.reporting.stored_runs import searched, setting, summary_of

STRATEGIES = ("random", "evolution", "nsga2")


def accuracies(sweep: Path, strategy: int) -> list[float]:
    return [summary_of(sweep / str(job))["best"]["test_accuracy"] for job in (strategy, strategy + 3)]


def test_a_csv_has_the_numbers_as_they_are(sweep: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(paper_table(rows_of([sweep]), "csv"))))
    assert [row["strategy"] for row in rows] == list(STRATEGIES)
    for n, row in enumerate(rows):
        low, high = stats.ttest_1samp(accuracies(sweep, n), 0).confidence_interval(0.95)
        assert float(row["test_accuracy"]) == pytest.approx(fmean(accuracies(sweep, n)))
        assert float(row["test_accuracy_ci95"]) == pytest.approx((high - low) / 2)
        params = [summary_of(sweep / str(job))["best"]["params"] for job in (n, n + 3)]
        assert float(row["params"]) == fmean(params)
        assert row["seeds"] == "2"


@pytest.mark.parametrize("form, bold", [("md", "**{}**"), ("latex", r"\textbf{{{}}}")])
def test_the_best_mean_is_bold(form: str, bold: str, sweep: Path) -> None:
    rows = paper_table(rows_of([sweep]), form).splitlines()  # type: ignore[arg-type]
    means = [fmean(accuracies(sweep, n)) for n in range(3)]
    for n, strategy in enumerate(STRATEGIES):
        (row,) = [row for row in rows if strategy in row]
        half = 100 * 12.706 * stdev(accuracies(sweep, n)) / 2**0.5
        cell = f"{100 * means[n]:.1f} ± {half:.1f}"
        cell = cell if form == "md" else cell.replace("±", r"$\pm$")
        assert cell in row
        assert (bold.format(cell) in row) == (means[n] == max(means)), "equal ones are all the best"


def test_latex_is_escaped_and_balanced(sweep: Path) -> None:
    text = paper_table([row for s in (setting("a_b=50%", [0.5]),) for row in complete(s).rows], "latex")
    assert r"a\_b" in text
    assert r"50\%" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def complete(given: Setting) -> Setting:
    """With the numbers that a table shows besides."""
    more = {"params": 1, "flops": 2, "is_reference": True, "difference": None}
    more |= {"reference_test_accuracy": None, "reference_test_loss": None}
    more |= {"reference_test_ci95": None, "difference_ci95": None}
    return Setting(tuple(Row(r.name, r.run, {**more, **r.numbers}, r.settings, r.shown) for r in given.rows))


def test_scores_that_do_not_compare_have_no_best() -> None:
    five, twenty = (complete(setting(f"task.way={way}", [0.5], way=way)) for way in (5, 20))
    table = paper_table([*five.rows, *twenty.rows], "md")
    assert "**" not in table
    assert "bold" not in table
    with pytest.raises(RunFailed, match="no run is tested"):
        paper_table(
            [Row("0", Run(Path("0"), "planned", {}), {"test_accuracy": None, "test_loss": None}, {}, {})],
            "md",
        )


@pytest.mark.parametrize("form", ["md", "csv", "latex"])
def test_accuracies_and_losses_are_told_apart(form: str) -> None:
    both = [complete(setting("a=1", [0.5])), complete(setting("a=2", [1200.0], accuracy=False))]
    both.sort(key=lambda one: form == "csv")
    rows = [row for one in both for row in one.rows]
    text = paper_table(rows, form)  # type: ignore[arg-type]
    assert "measure" in text
    assert "MSE" in text or "loss" in text
    assert "accuracy" in text
    assert not {"test_loss", "test_accuracy"} & set(text.splitlines()[0].split(","))
    assert scores_figure(both) is None


def test_runs_whose_settings_changed_are_averaged_with_no_other() -> None:
    plain, other = (complete(setting("a=1", [0.5, 0.6])).rows[n] for n in (0, 1))
    assert len(settings_of([plain, other])) == 1
    forced = replace(other, run=replace(other.run, changes=("a 2 -> 1",)))
    assert len(settings_of([plain, forced])) == 2
    assert "mixes two settings" in " ".join(warnings([plain, forced]))
    assert "a 2 -> 1" in " ".join(warnings([plain, forced]))


def test_what_no_result_depends_on_separates_no_settings() -> None:
    settings = [
        {"on_failure": how, "dataset.cache": place, "a": 1} for how, place in (("stop", "x"), ("go_on", "y"))
    ]
    assert differing_keys(settings) == []
    assert differing_keys([settings[0], {**settings[1], "executor.workers": 2}]) == ["executor.workers"]


def test_rows_that_read_alike_have_their_runs_names_and_a_single_run_has_intervals() -> None:
    numbers = {"reference_test_accuracy": 0.4, "reference_test_ci95": 0.02}
    numbers |= {"is_reference": False, "difference": 0.1, "difference_ci95": 0.01, "params": 1, "flops": 2}
    rows = [
        Row(f"run{n}", Run(Path(str(n)), "done", {"a": n}), {**row.numbers, **numbers}, {}, {"b": "1"})
        for n in (0, 1)
        for row in complete(setting("x", [0.5])).rows
    ]
    header, one, other = list(csv.reader(io.StringIO(paper_table(rows, "csv"))))
    assert [one[0], other[0]] == ["run0", "run1"]
    found = dict(zip(header, one, strict=True))
    assert (found["reference_ci95"], found["difference_ci95"]) == ("0.02", "0.01")


def test_a_curve_is_the_mean_of_the_best_so_far(sweep: Path) -> None:
    figure = means_figure(settings_of(rows_of([sweep])))
    assert figure is not None
    lines = {str(each.get_label()): each for each in figure.axes[0].get_lines()}
    for n, strategy in enumerate(STRATEGIES):
        scores = [[r["valid_accuracy"] for r in searched(sweep / str(job))] for job in (n, n + 3)]
        best = np.maximum.accumulate(scores, 1).mean(0)
        assert lines[f"strategy={strategy}"].get_ydata() == pytest.approx(100 * best)
    assert means_figure([]) is None


def stored(folder: Path, label: str, tasks: np.ndarray, **numbers: int) -> Setting:
    """A setting whose runs have stored what they reached on each task: [seeds, tasks]."""
    found = setting(label, tasks.mean(1).tolist(), **numbers)
    for row, per_task in zip(found.rows, tasks, strict=True):
        (folder / row.run.path).mkdir()
        values = {"best": torch.from_numpy(per_task), "reference": None}
        checkpoint.save(folder / row.run.path / "test.pt", values)
    rows = [
        Row(r.name, Run(folder / r.run.path, "done", r.run.config), r.numbers, r.settings, r.shown)
        for r in found.rows
    ]
    return Setting(tuple(rows))


def test_settings_are_paired_by_seed_and_task(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tasks = rng.uniform(size=(3, 40))
    better = stored(tmp_path, "a=1", tasks + 0.1 + rng.normal(scale=0.01, size=tasks.shape))
    worse = stored(tmp_path, "a=0", tasks)
    ((one, other, seeds, over_seeds, p_seeds, over_tasks, p_tasks),) = paired_rows([worse, better])
    assert (one, other, seeds) == ("a=1", "a=0", "3")
    assert over_seeds.startswith(over_tasks[:4]) or over_seeds[:4] == over_tasks[:4]
    assert float(over_tasks.split(" ± ")[0]) == pytest.approx(10, abs=0.2)
    assert float(over_tasks.split(" ± ")[1]) < 1, "paired, since the tasks differ by more"
    assert p_tasks == "< 0.001"
    assert float(p_seeds.removeprefix("< ")) < 0.01


@pytest.mark.parametrize("difference", ["way", "tasks", "nothing stored"])
def test_without_common_tasks_nothing_is_compared(difference: str, tmp_path: Path) -> None:
    tasks = np.random.default_rng(0).uniform(size=(1, 10))
    one = stored(tmp_path, "a=0", tasks)
    other = stored(
        tmp_path, "a=1", tasks[:, :5] if difference == "tasks" else tasks, way=7 if difference == "way" else 5
    )
    if difference == "nothing stored":
        (other.rows[0].run.path / "test.pt").write_bytes(b"damaged")
    assert paired_rows([one, other]) == []
