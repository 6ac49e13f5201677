"""What every tracker is told of a run, and what MLflow and Weights & Biases keep of it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed, reconfigured
from nasmeta.config.schema import parse
from nasmeta.errors import UntrustedError
from nasmeta.reporting.trackers.base import Tracker, run_name
from nasmeta.reporting.trackers.mlflow import MLflow
from nasmeta.reporting.trackers.wandb import WandB
from nasmeta.run.events import Event, TrialReading
from tests.cli.runs import TINY
from tests.conftest import has_extra
from tests.reporting.events_of_a_run import (
    CONV4,
    SETTINGS,
    run_finished,
    run_started,
    trial_finished,
    trial_started,
)

Made = Callable[..., Tracker]

FIRST = (
    run_started(began=1.5),
    trial_started(0),
    TrialReading("search", 0, 5, 10, 0.7, 0.5),
    trial_finished(0, 0.9, best=True),
)
RESUMED = (
    run_started(began=1.5, resumed=True, finished=1),
    trial_finished(1, 0.8, best=False),
    run_finished(),
)


class Recording(Tracker):
    """Keeps what it is told."""

    package = "json"

    def __init__(self, *, directory: Path) -> None:
        super().__init__(directory=directory)
        self.told: list[tuple[Any, ...]] = []

    def begin(self, name: str, identity: str, settings: Mapping[str, Any]) -> None:
        self.told.append(("begin", name, identity, dict(settings)))

    def scalar(self, tag: str, value: float, step: int) -> None:
        self.told.append(("scalar", tag, value, step))

    def image(self, tag: str, picture: Any, step: int) -> None:
        self.told.append(("image", tag, picture.shape[2], step))

    def text(self, tag: str, text: str, step: int) -> None:
        self.told.append(("text", tag, text, step))

    def finish(self, settings: Mapping[str, Any], results: Mapping[str, float], checkpoint: Path) -> None:
        self.told.append(("finish", dict(settings), dict(results), checkpoint))

    def close(self) -> None:
        self.told.append(("close",))


def told(directory: Path, *events: Event) -> list[tuple[Any, ...]]:
    tracker = Recording(directory=directory)
    for event in events:
        tracker(event)
    return tracker.told


def test_what_a_tracker_is_told(tmp_path: Path) -> None:
    begun, *calls = told(tmp_path, *FIRST)
    assert begun[3] == SETTINGS
    assert [call for call in calls if call[0] != "scalar"] == [
        ("text", "run/settings", "batch_norm: support, trials: 3", 0),
        ("image", "episode/support_and_query", 3, 0),
        ("image", "best/architecture", 3, 0),
        ("text", "best/architecture", f"`{CONV4}`", 0),
    ]
    assert ("scalar", "train/loss", 0.7, 499) in calls
    assert ("scalar", "search/valid_accuracy", 0.9, 0) in calls
    *_, finished, closed = told(tmp_path, *RESUMED)
    assert finished[2]["test_accuracy"] == 0.934
    assert finished[3] == tmp_path / "best.pt"
    assert closed == ("close",)


def test_a_resumed_run_has_the_identity_that_it_had(tmp_path: Path) -> None:
    first, again = (told(tmp_path, *events)[0] for events in (FIRST, RESUMED))
    assert first[1:3] == again[1:3]
    assert told(tmp_path, run_started(began=2.5))[0][2] != first[2], "another run in the same place"


def test_a_runs_name_says_what_it_is() -> None:
    settings = parse(composed(["meta_learner=fomaml", "optimizer.lr=0.01", "seed=3"]), trusted=True).hparams()
    typed = ("meta_learner=fomaml", "optimizer.lr=0.01", "seed=3", "progress=false", "logger.mlflow.place=x")
    name = run_name(run_started(settings=settings, overrides=typed))
    assert name == "strokes_5way1shot_fomaml_conv_evolution_optimizer.lr=0.01_seed3"
    place = run_name(run_started(settings=settings, overrides=("dataset.root=/home/it's", "budget.trials=5")))
    assert place.endswith("_dataset.root=-home-it-s_budget.trials=5_seed3")
    assert place.startswith("strokes_5way1shot_fomaml_")


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_without_its_package_nothing_starts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    if has_extra(name):
        pytest.skip("it is installed")
    assert main(["search", *TINY, f"logger=[tensorboard,{name}]", f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    err = capfd.readouterr().err
    assert f"pip install 'nasmeta[{name}]'" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_run_has_the_trackers_that_were_chosen(tmp_path: Path) -> None:
    def trackers(*overrides: str) -> list[str]:
        config = parse(composed(list(overrides)), trusted=True)
        again = reconfigured(config.to_dict(), [], trusted=True)
        return [type(tracker).__name__ for tracker in again.trackers(tmp_path)]

    assert trackers() == ["TensorBoard"]
    assert trackers("logger=none") == []
    assert trackers("logger=[mlflow,tensorboard]") == ["MLflow", "TensorBoard"]
    stored = parse(composed(["logger=[mlflow,wandb]"]), trusted=True).to_dict()
    changed = reconfigured(stored, ["logger=wandb"], trusted=False)
    assert list(changed.keys.logger) == ["wandb"]


@pytest.mark.parametrize("override", ["logger.mlflow.place=http://a.stranger", "logger.wandb.mode=online"])
def test_where_a_run_is_sent_has_to_be_typed(override: str) -> None:
    stored = parse(composed(["logger=[mlflow,wandb]", override]), trusted=True).to_dict()
    with pytest.raises(UntrustedError, match=override.partition("=")[0]):
        reconfigured(stored, [], trusted=False)
    reconfigured(stored, [override], trusted=False)
    reconfigured(stored, ["logger=none"], trusted=False)
    reconfigured(stored, [], trusted=False, groups=["meta_learner"])


def show(make: Made, directory: Path) -> None:
    """A run that is interrupted, and resumed to its end."""
    directory.mkdir()
    (directory / "best.pt").write_bytes(b"weights")
    settings = {**SETTINGS, **{f"key.{number}": number for number in range(120)}}
    for events in (FIRST, RESUMED):
        tracker = make(directory=directory)
        start, *others = events
        for event in (replace(start, settings=settings), *others):
            tracker(event)
        tracker.close()
        tracker.close()


def check_mlflow(address: str) -> None:
    """What MLflow has of the run that `show` makes, in the experiment "mine"."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["key.119"] == "119"
    assert run.data.metrics["test_accuracy"] == 0.934
    history = client.get_metric_history(run.info.run_id, "search/valid_accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.9), (1, 0.8)]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"best.pt", "episode", "best"}
    pictures = client.list_artifacts(run.info.run_id, "episode/support_and_query")
    assert [file.path.rpartition("/")[2] for file in pictures] == ["000000.png", "000001.png"]


@pytest.mark.extra("mlflow")
def test_mlflow_keeps_a_resumed_run_as_one(tmp_path: Path) -> None:
    place = tmp_path / "mlruns"
    show(lambda directory: MLflow(directory=directory, place=str(place), experiment="mine"), tmp_path / "run")
    check_mlflow(f"sqlite:///{place / 'mlflow.db'}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of an `mlflow server` that keeps everything in a folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        "artifacts",
    ]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *places]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while not _answers(f"{address}/health"):
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5):
            return True
    except OSError:
        return False


@pytest.mark.extra("mlflow_server")
def test_a_server_of_mlflow_keeps_a_resumed_run_as_one(
    tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(lambda directory: MLflow(directory=directory, place=server, experiment="mine"), tmp_path / "run")
    check_mlflow(server)
    assert not capsys.readouterr().out, "which is for results"


@pytest.mark.extra("wandb")
def test_wandb_keeps_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "")
    show(lambda directory: WandB(directory=directory, project="mine", mode="offline"), tmp_path / "run")
    sessions = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert len(sessions) == 2
    assert len({path.name.rpartition("-")[2] for path in sessions}) == 1, "`wandb sync` makes one run of them"
    pictures = {path.parent.name for path in sessions[0].rglob("*.png")}
    assert pictures == {"episode", "best"}
