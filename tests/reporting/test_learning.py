"""How networks learned and what a search came to prefer: the file, the figures, the test's first task."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from nasmeta.datasets.decode import Preprocessing
from nasmeta.reporting.figures.learning import (
    learning_figure,
    operations_figure,
    tasks_figure,
    values_figures,
)
from nasmeta.reporting.learning import Learning, learning_curves
from nasmeta.run import per_task
from nasmeta.run.events import TrialReading
from nasmeta.run.per_task import PerTask
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.task import TaskBatch
from nasmeta.training import checkpoint
from nasmeta.training.score import Score
from nasmeta.trial import Phase


def reading(phase: Phase, trial: int, iteration: int, accuracy: float | None = 0.5) -> TrialReading:
    return TrialReading(phase, trial, iteration, 100, loss=1.0 - (accuracy or 0), accuracy=accuracy)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "learning.csv"
    assert learning_curves(path) == {}
    first = Learning(path)
    for event in (
        reading("search", 0, 10, 0.25),
        reading("search", 0, 20, 0.5),
        reading("final", 0, 10, None),
    ):
        first(event)
    first.close()
    path.write_bytes(path.read_bytes()[:-3])  # a kill has torn the last line
    again = Learning(path)
    again(reading("search", 0, 20, 0.75))  # after a kill some iterations are done again
    again(reading("final", 0, 10, None))
    again(replace(reading("final", 0, 10), of="judged"))
    again.close()
    assert path.read_text().startswith("phase,trial,iteration,of,loss,accuracy\n")
    assert learning_curves(path) == {
        ("search", 0, "train"): {10: (0.75, 0.25), 20: (0.25, 0.75)},
        ("final", 0, "train"): {10: (1.0, None)},
        ("final", 0, "judged"): {10: (0.5, 0.5)},
    }


def test_nothing_is_written_where_nothing_is_trained(tmp_path: Path) -> None:
    Learning(tmp_path / "learning.csv").close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["search,x,1,train,1,1\n", "a,b\n", '"', "\x00\x00,,,,,\n", "search,1,1,train,one,\n"]
)
def test_lines_that_are_no_readings_are_skipped(text: str, tmp_path: Path) -> None:
    (tmp_path / "learning.csv").write_text(f"search,3,10,train,0.5,\n{text}")
    assert learning_curves(tmp_path / "learning.csv") == {("search", 3, "train"): {10: (0.5, None)}}


def lines(axes: Axes) -> list[list[float]]:
    return [list(line.get_ydata()) for line in axes.get_lines()]  # type: ignore[arg-type]


def test_every_training_is_a_curve() -> None:
    curves = {
        ("search", 0, "train"): {10: (0.0, 0.2), 20: (0.0, 0.4)},
        ("search", 1, "train"): {10: (0.0, 0.1)},
        ("final", 0, "train"): {10 * n: (0.0, n / 100) for n in range(1, 41)},
        ("final", 0, "judged"): {200: (0.0, 0.3), 400: (0.0, 0.5)},
        ("reference", 0, "train"): {10: (0.0, 0.9)},
    }
    figure = learning_figure(curves, regression=False)
    assert figure is not None
    candidate, other, finalist, judged, reference = lines(figure.axes[0])
    assert judged == pytest.approx([30, 50])
    assert candidate == pytest.approx([20, 40])
    assert (other, reference) == (pytest.approx([10]), pytest.approx([90]))
    assert finalist == pytest.approx([n + 0.5 for n in range(1, 41, 2)]), "a mean over a twentieth"
    assert learning_figure({}, regression=False) is None


def score_of(values: Sequence[float]) -> Score:
    per_task = torch.tensor(values, dtype=torch.float64)
    return Score(float(per_task.mean()), 0.1, 0.1, per_task)


def test_every_test_task_is_counted() -> None:
    best, reference = np.array([0.2, 0.4, 0.4, 1.0]), np.array([0.1, 0.1, 0.2, 0.2])
    figure = tasks_figure(PerTask(best, reference, None), "searched", regression=False)
    means = [line[0] for line in ([*each.get_xdata()] for each in figure.axes[0].get_lines())]  # type: ignore[misc]
    assert means == pytest.approx([50, 15])
    alone = tasks_figure(PerTask(best[:1], best[:1], None), "reference", regression=False)
    assert len(alone.axes[0].get_lines()) == 1, "the reference is not compared with itself"


def graph(*operations: str) -> ArchitectureGraph:
    nodes = ("input", *operations, "output")
    return ArchitectureGraph(nodes, np.eye(len(nodes), k=1, dtype=bool), (0,) * len(nodes))


def test_operations_are_counted_by_period() -> None:
    graphs = [graph("conv3", "relu")] * 5 + [graph("conv5", "conv5", "relu")] * 5
    figure = operations_figure(graphs)
    assert figure is not None
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["conv3", "conv5"], "relu does not change"
    assert {text.get_text() for text in axes.texts} == {"1.0", "0.0", "2.0"}
    assert operations_figure([graph("conv3")] * 4) is None
    assert operations_figure([]) is None


def test_numbers_and_words_over_the_search() -> None:
    found = dict(values_figures({"lr": [0.1] * 9 + [0.4], "same": [1, 1], "kind": ["a", "b", "b", "b"]}))
    assert list(found) == ["lr", "kind"]
    points, recent = lines(found["lr"].axes[0])
    assert points[-1] == 0.4
    assert recent[-1] == pytest.approx(fmean([0.1, 0.1, 0.4]))
    share_a, share_b = lines(found["kind"].axes[0])
    assert share_a[0] == 100
    assert share_b[-1] == 100
    hostile = values_figures({"$\\frac{1}$": [1, 2]})
    hostile[0][1].savefig("/dev/null", format="svg")


PREPROCESSING = Preprocessing(channels=1, size=4, glyph=False, mean=(0.5,), std=(0.25,))


def batch_of(queries: int) -> tuple[TaskBatch, torch.Tensor]:
    """Two classes of seven shots; query q shows grey q, and is of class 0."""
    support = torch.zeros(1, 14, 1, 4, 4)
    query = (torch.arange(queries).float() / 255 - 0.5) / 0.25
    labels = torch.arange(2).repeat_interleave(7)[None]
    shown = query[None, :, None, None, None].expand(1, queries, 1, 4, 4)
    classes = torch.zeros(1, 2, dtype=torch.long)
    batch = TaskBatch(support, labels, shown, torch.zeros(1, queries, dtype=torch.long), classes)
    return batch, torch.stack([torch.linspace(3, -3, queries), torch.zeros(queries)], 1)


@pytest.mark.parametrize("queries", [1, 9, 30])
def test_the_surest_and_the_least_sure_answers_are_kept(queries: int, tmp_path: Path) -> None:
    batch, logits = batch_of(queries)
    episode = per_task.shown(batch, logits, PREPROCESSING)
    per_task.save(tmp_path / "test.pt", score_of([0.5, 1.0]), None, episode)
    found = PerTask.load(tmp_path / "test.pt")
    assert found is not None
    assert found.best.tolist() == [0.5, 1.0]
    assert found.episode is not None
    assert np.bincount(found.episode.support_y).tolist() == [5, 5]
    sureness = logits.softmax(-1).amax(-1).numpy()
    kept = found.episode.query[:, 0, 0, 0]
    order = np.argsort(-sureness, kind="stable")
    assert len(kept) == min(queries, 12)
    assert set(kept[:6]) <= set(order[: max(6, queries)])
    assert np.allclose(found.episode.probabilities.max(1), np.sort(sureness[kept])[::-1])
    assert sureness[kept].max() == sureness.max()
    assert sureness[kept].min() == sureness.min()


@pytest.mark.parametrize(
    "change",
    [
        {"query": torch.zeros(3, 5, 4, 4, dtype=torch.uint8)},
        {"support": torch.zeros(14, 1, 4, 4)},
        {"probabilities": torch.full((9, 2), float("nan"))},
        {"probabilities": torch.zeros(9, 0)},
        {"query_y": torch.zeros(1, dtype=torch.long)},
        {"support": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_foreign_episode_is_not_shown(change: dict[str, torch.Tensor], tmp_path: Path) -> None:
    episode = {**per_task.shown(*batch_of(9), PREPROCESSING), **change}
    checkpoint.save(tmp_path / "test.pt", {"best": torch.ones(2), "reference": None, "episode": episode})
    found = PerTask.load(tmp_path / "test.pt")
    assert found is not None
    assert found.episode is None


@pytest.mark.parametrize(
    "best", [None, "text", torch.ones(2, 2), torch.tensor([float("nan")]), torch.ones(0)]
)
def test_a_foreign_file_is_not_read(best: object, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "test.pt", {"best": best, "reference": None})
    assert PerTask.load(tmp_path / "test.pt") is None
    assert PerTask.load(tmp_path / "none.pt") is None
