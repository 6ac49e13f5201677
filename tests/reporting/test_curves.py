"""The figures: what is drawn where, against the journal by the plainest computation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from nasmeta.reporting.figures.canvas import rgb
from nasmeta.reporting.figures.curves import MANY, cost_figure, search_figure
from nasmeta.reporting.figures.settings import scores_figure
from nasmeta.reporting.read.load import Run, load_run
from nasmeta.run.records import Finished
from nasmeta.strategies.pareto import dominates
from tests.reporting.events_of_a_run import trial_failed, trial_finished
from tests.reporting.stored_runs import searched, setting, summary_of


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    """Where the points of a line are, by its name in the legend."""
    found = next(each for each in axes.get_lines() if each.get_label() == label)
    return list(found.get_xdata()), list(found.get_ydata())  # type: ignore[arg-type]


def steps_of(axes: Axes) -> set[str]:
    """How the lines of steps in a figure go from point to point."""
    return {each.get_drawstyle() for each in axes.get_lines()} - {"default"}


def run_of(*finished: Any, **changes: Any) -> Run:
    trials = tuple(
        Finished(phase="search", result=event.result, elapsed=10.0 * (n + 1))
        for n, event in enumerate(finished)
    )
    return replace(Run(Path("outputs/run"), "unfinished", {}, trials=trials), **changes)


@pytest.mark.parametrize("which", ["table_run", "sine_run"])
def test_the_best_so_far_is_the_running_optimum(which: str, request: pytest.FixtureRequest) -> None:
    directory: Path = request.getfixturevalue(which)
    figure = search_figure(load_run(directory), "trials")
    assert figure is not None
    axes = figure.axes[0]
    x, y = line(axes, "best so far")
    if which == "sine_run":
        expected = list(np.minimum.accumulate([r["valid_loss"] for r in searched(directory)]))
        assert axes.get_ylabel() == "validation loss (MSE)"
    else:
        values = [100 * r["valid_accuracy"] for r in searched(directory)]
        expected = list(np.maximum.accumulate(values))
        assert axes.get_ylabel() == "validation accuracy (%)"
    assert y == pytest.approx(expected)
    assert x == list(range(1, len(expected) + 1))
    assert steps_of(axes) == {"steps-post"}, "a score holds from its trial on"


def test_time_is_the_walls_or_the_tables(table_run: Path, sine_run: Path) -> None:
    wall = search_figure(load_run(sine_run), "time")
    assert wall is not None
    assert wall.axes[0].get_xlabel() == "time since the start (s)"
    assert line(wall.axes[0], "best so far")[0] == [r["elapsed"] for r in searched(sine_run)]
    simulated = search_figure(load_run(table_run), "time")
    assert simulated is not None
    last = summary_of(table_run)["simulated_seconds"] - sum_of_the_rest(table_run)
    label = simulated.axes[0].get_xlabel()
    unit = {"(s)": 1, "(min)": 60}[label.split(" ")[-1]]
    assert label.startswith("training time that the table says")
    assert line(simulated.axes[0], "best so far")[0][-1] == pytest.approx(last / unit)


def sum_of_the_rest(directory: Path) -> float:
    """What the simulated time of the summary has beyond the search's trials."""
    return float(summary_of(directory)["simulated_seconds"]) - sum(r["seconds"] for r in searched(directory))


def test_long_times_are_in_hours() -> None:
    run = run_of(trial_finished(0, 0.5, best=True), trial_finished(1, 0.6, best=True))
    long = replace(run, trials=tuple(t.model_copy(update={"elapsed": 36_000.0}) for t in run.trials))
    figure = search_figure(long, "time")
    assert figure is not None
    assert figure.axes[0].get_xlabel() == "time since the start (h)"
    assert line(figure.axes[0], "best so far")[0] == [10.0, 10.0]


@pytest.mark.parametrize("cost", ["params", "flops"])
@pytest.mark.parametrize("which", ["table_run", "front_run", "sine_run"])
def test_the_front_is_marked_and_so_is_the_reference(
    which: str, cost: Any, request: pytest.FixtureRequest
) -> None:
    directory: Path = request.getfixturevalue(which)
    name, unit = ("valid_loss", -1) if which == "sine_run" else ("valid_accuracy", 100)
    points = {(r[cost], -unit * r[name]) for r in searched(directory)}
    expected = sorted(p for p in points if not any(dominates(q, p) for q in points))
    figure = cost_figure(load_run(directory), cost)
    assert figure is not None
    axes = figure.axes[0]
    x, y = line(axes, "Pareto front")
    drawn = sorted(set(zip(x, [abs(value) for value in y], strict=True)))
    assert np.allclose(drawn, [(p, abs(q)) for p, q in expected])
    assert steps_of(axes) == {"steps-post"}, "a cost buys what cheaper ones reach"
    summary = summary_of(directory)
    for label, side in (("reference, in full", "reference"), ("searched, in full", "best")):
        assert line(axes, label)[0] == [summary[side][cost]]
        assert line(axes, label)[1] == pytest.approx([abs(unit) * summary[side][name]])
    if which == "front_run":
        kept = sorted((m[cost], 100 * m["valid_accuracy"]) for m in summary["pareto"])
        assert np.allclose(sorted(zip(*line(axes, "stored front"), strict=True)), kept)


def test_failed_trials_are_marked_and_shorter_ones_are_hollow() -> None:
    run = run_of(
        trial_failed(0, "nan"),
        trial_finished(1, 0.5, best=True, iterations=5),
        trial_finished(2, 0.4, best=True, iterations=10),
    )
    figure = search_figure(run, "trials")
    assert figure is not None
    assert line(figure.axes[0], "failed")[0] == [1]
    assert line(figure.axes[0], "best so far") == ([2, 3], [50.0, 40.0])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"trial, 95% interval", "fewer iterations", "failed"} <= set(labels)


def test_a_proxy_has_no_scale_in_common_with_the_reference() -> None:
    reference = trial_finished(0, 0.9, best=False, phase="reference").result
    proxies = [trial_finished(n, None, best=False, proxy=10.0**n, valid_ci95=None) for n in range(3)]
    figure = cost_figure(run_of(*proxies, reference=reference), "params")
    assert figure is not None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "cost of the reference" in labels
    assert "reference, in full" not in labels
    assert figure.axes[0].get_yscale() == "log"


def test_there_is_no_figure_of_nothing() -> None:
    nothing = run_of(trial_failed(0, "nan"))
    assert search_figure(nothing, "trials") is None
    assert cost_figure(nothing, "params") is None
    assert search_figure(run_of(), "time") is None
    unknown = run_of(trial_finished(0, 0.5, best=True, params=None))
    assert cost_figure(unknown, "params") is None
    assert cost_figure(unknown, "flops") is not None


def test_thousands_of_trials_become_pixels() -> None:
    run = run_of(*(trial_finished(n, 0.5, best=False) for n in range(MANY + 1)))
    figure = search_figure(run, "trials")
    assert figure is not None
    assert any(each.get_rasterized() for each in figure.axes[0].get_lines())


def test_labels_are_text_and_no_mathematics() -> None:
    figure = scores_figure([setting("dataset.root=$\\frac{1}$", [0.5, 0.7]), setting("a=0", [0.6], ci95=0)])
    assert figure is not None
    assert rgb(figure).min() < 100
    axes = figure.axes[0]
    mean = next(each for each in axes.get_lines() if list(each.get_xdata()) == [60.0, 60.0])  # type: ignore[arg-type]
    assert list(mean.get_ydata()) == [-0.3, 0.3]  # type: ignore[arg-type]


def test_nothing_global_is_touched(table_run: Path) -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    search_figure(load_run(table_run), "trials")
    assert plt.get_fignums() == before
