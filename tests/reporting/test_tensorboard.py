from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard import context
from tensorboard.backend.event_processing import data_provider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import backend_context

from nasmeta.reporting.trackers.tensorboard import TensorBoard
from nasmeta.run.events import Event, TrialReading
from tests.reporting.events_of_a_run import (
    CONV4,
    run_finished,
    run_started,
    side,
    sine_batch,
    trial_failed,
    trial_finished,
    trial_started,
)


def written(directory: Path, *events: Event) -> EventAccumulator:
    """What TensorBoard reads of a run in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    observer = TensorBoard(directory=directory)
    for event in events:
        observer(event)
    observer.close()
    return read_back(directory)


def read_back(directory: Path) -> EventAccumulator:
    (place,) = (directory / "tensorboard").iterdir()
    return EventAccumulator(str(place)).Reload()


def scalars(read: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in read.Scalars(tag)]


def test_a_whole_run_reads_back(tmp_path: Path) -> None:
    read = written(
        tmp_path,
        run_started(),
        trial_started(0),
        TrialReading("search", 0, 5, 10, 0.7, 0.5),
        TrialReading("search", 0, 10, 10, 0.6, 0.6),
        trial_finished(0, 0.9, best=True),
        trial_started(1),
        trial_failed(1, "the loss is nan"),
        trial_started(2),
        TrialReading("search", 2, 20, 20, 0.3, 0.9),
        trial_finished(2, 0.88, best=False),
        trial_started(0, "final", iterations=100),
        TrialReading("final", 0, 50, 100, 0.2, 0.95),
        trial_finished(0, 0.92, best=True, phase="final", iterations=100),
        trial_started(0, "reference", iterations=100),
        TrialReading("reference", 0, 100, 100, 0.4, 0.85),
        trial_finished(0, 0.86, best=False, phase="reference", iterations=100),
        run_finished(),
    )
    assert scalars(read, "search/valid_accuracy") == [(0, 0.9), (2, 0.88)]
    assert scalars(read, "search/best_valid_accuracy") == [(0, 0.9), (1, 0.9), (2, 0.9)]
    assert scalars(read, "search/failed") == [(0, 0.0), (1, 1.0), (2, 0.0)]
    assert scalars(read, "search/params") == [(0, 111_936), (2, 111_936)]
    assert scalars(read, "search/flops") == [(0, 21_300_000), (2, 21_300_000)]
    assert scalars(read, "search/seconds") == [(0, 41), (1, 41), (2, 41)]
    assert scalars(read, "train/loss") == [(499, 0.7), (999, 0.6), (2999, 0.3)]
    assert scalars(read, "train/accuracy") == [(499, 0.5), (999, 0.6), (2999, 0.9)]
    assert scalars(read, "final/0/train_loss") == [(50, 0.2)]
    assert scalars(read, "final/0/valid_accuracy") == [(100, 0.92)]
    assert scalars(read, "reference/train_accuracy") == [(100, 0.85)]
    assert scalars(read, "reference/valid_accuracy") == [(100, 0.86)]
    images = {
        "episode/support_and_query",
        "best/architecture",
        "final/0/architecture",
        "reference/architecture",
    }
    assert set(read.Tags()["images"]) == images
    assert [image.step for image in read.Images("best/architecture")] == [0]
    assert read.Images("best/architecture")[0].width > 400
    text = read.Tensors("best/architecture/text_summary")
    assert text[0].tensor_proto.string_val == [f"`{CONV4}`".encode()]


def test_the_hparams_tab_opens_on_what_differs(tmp_path: Path) -> None:
    """It lists every run below its folder, the settings that differ first, and the final numbers alone."""
    for job, accuracy in enumerate((0.91, 0.95)):
        settings = {"seed": 0, "meta_learner": "maml", "task.way": 5 + job}
        end = replace(run_finished(side(test_accuracy=accuracy)), hparams=settings)
        written(tmp_path / str(job), run_started(), trial_finished(0, 0.9, best=True), end)
    reader = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = data_provider.MultiplexerDataProvider(reader, str(tmp_path))
    backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = context.RequestContext()
    runs = backend.hparams_metadata(request, "")
    tab = backend.experiment_from_metadata(request, "", True, runs, [], hparams_limit=None)
    assert [(each.name, each.differs) for each in tab.hparam_infos] == [
        ("task.way", True),
        ("meta_learner", False),
        ("seed", False),
    ]
    results = ("flops", "params", "test_accuracy", "train_seconds", "valid_accuracy")
    assert [each.name.tag for each in tab.metric_infos] == [f"hparam/{name}" for name in results]
    for job, accuracy in enumerate((0.91, 0.95)):
        (place,) = (tmp_path / str(job) / "tensorboard").glob("*/result")
        ended = EventAccumulator(str(place)).Reload()
        assert scalars(ended, "hparam/test_accuracy") == [(0, accuracy)]
        assert scalars(ended, "hparam/train_seconds") == [(0, 723.0)]


def test_regression_writes_losses_and_a_curve(tmp_path: Path) -> None:
    read = written(
        tmp_path,
        run_started(sine_batch()),
        trial_started(0),
        TrialReading("search", 0, 10, 10, 1.5, None),
        trial_finished(0, None, best=True),
        run_finished(side(valid_accuracy=None, test_accuracy=None)),
    )
    tags = set(read.Tags()["scalars"])
    assert "train/accuracy" not in tags
    assert "search/valid_accuracy" not in tags
    assert scalars(read, "search/best_valid_loss") == [(0, 0.25)]
    assert (
        read.Images("episode/support_and_query")[0].width > read.Images("episode/support_and_query")[0].height
    )


def test_a_resumed_run_writes_beside_the_first_session(tmp_path: Path) -> None:
    written(tmp_path, run_started(), trial_started(0), trial_finished(0, 0.9, best=True))
    read = written(
        tmp_path,
        run_started(finished=1, resumed=True),
        trial_started(1),
        trial_finished(1, 0.8, best=False),
        trial_started(2),
        trial_finished(2, 0.95, best=True),
    )
    assert scalars(read, "search/valid_accuracy") == [(0, 0.9), (1, 0.8), (2, 0.95)]
    # The second session does not know the best of the first, and says nothing until it is beaten.
    assert scalars(read, "search/best_valid_accuracy") == [(0, 0.9), (2, 0.95)]


def test_a_run_that_has_grown_keeps_its_name(tmp_path: Path) -> None:
    written(tmp_path, run_started(), trial_started(0), trial_finished(0, 0.9, best=True))
    more = run_started(finished=1, resumed=True, overrides=("budget.trials=7",))
    written(tmp_path, more, trial_started(1), trial_finished(1, 0.8, best=False))
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_closing_early_keeps_what_was_written(tmp_path: Path) -> None:
    observer = TensorBoard(directory=tmp_path)
    observer.close()
    observer(run_started())
    observer(trial_finished(0, 0.9, best=True))  # no TrialStarted, so nothing to draw
    observer.close()
    observer.close()
    read = read_back(tmp_path)
    assert scalars(read, "search/valid_accuracy") == [(0, 0.9)]
    assert "best/architecture" not in read.Tags()["images"]
