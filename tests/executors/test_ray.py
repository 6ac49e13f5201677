"""Trials on a Ray cluster, here of this machine alone."""

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError, Interrupted, RunFailed, StorageError
from nasmeta.executors import ray as module
from nasmeta.executors.ray import RayExecutor
from nasmeta.run.composition import Composition
from nasmeta.run.rebuild import fingerprints, rebuild
from nasmeta.training.trained_network import TrainedNetwork
from tests.cli.kills import spawn
from tests.datasets.pictures import save
from tests.executors import toy
from tests.executors.test_equal_results import RANDOM, ended, searched
from tests.executors.toy import job

pytestmark = pytest.mark.extra("ray")


def executor(workers: int = 2, stop: threading.Event | None = None, **options: object) -> RayExecutor:
    defaults = {"cpus": 1, "gpus": 0.0, "address": "local", "order": "submission", "rebuild": toy.rebuild}
    settings = defaults | {"follow": lambda job, progress: None} | options
    return RayExecutor(workers=workers, stop=(stop or threading.Event()).is_set, **settings)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local cluster has as many as the machine; two workers need two."""
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 2}')
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray's is 15: on a busy machine, workers would starve


@pytest.fixture(scope="module")
def pair() -> Iterator[RayExecutor]:
    with closing(executor()) as two:
        yield two


def test_results_come_in_the_order_of_the_jobs(pair: RayExecutor) -> None:
    archs = ["slow", "quick", "quick", "slow", "quick"]
    told = toy.collected(pair, archs)
    assert [(result.trial, result.arch) for result in told] == list(enumerate(archs))
    assert len({result.proxy for result in told}) == 2, "the processes"
    assert {result.params for result in told} == {1}, "the threads"


def test_a_worker_that_dies_fails_its_trial_and_no_other(pair: RayExecutor) -> None:
    pair.submit(job(0, "slow"))
    pair.submit(job(1, "is killed"))
    assert pair.collect()[1].status == "ok"
    _, failed = pair.collect()
    assert (failed.trial, failed.status, failed.score) == (1, "failed", None)
    assert "its worker died" in str(failed.reason)
    for trial in (2, 3):
        pair.submit(job(trial, "quick"))
    assert [pair.collect()[1].status for _ in range(2)] == ["ok", "ok"]


def test_what_ends_a_run_ends_it_from_a_worker_too(pair: RayExecutor) -> None:
    pair.submit(job(0, "finds the disk full"))
    with pytest.raises(StorageError, match=r"^w.pt: cannot be written$"):
        pair.collect()
    pair.submit(job(1, "has a bug"))
    with pytest.raises(RunFailed, match="a worker failed: no such thing"):
        pair.collect()


def test_stopped_all_jobs_are_saved(tmp_path: Path, pair: RayExecutor) -> None:
    pair.close()  # one cluster a process
    stopping, readings = threading.Event(), list[int]()
    with closing(executor(stop=stopping, follow=lambda job, progress: readings.append(job.trial))) as one:
        one.submit(job(0, "says"))
        one.submit(job(1, "endless", tmp_path))
        while not (tmp_path / "1.pt").exists():
            time.sleep(0.02)
        stopping.set()
        with pytest.raises(Interrupted, match="stopped with 2 "):
            one.collect()
        assert (tmp_path / "1.pt").read_text() == "saved"
    assert readings == [0], "and what is read of them is kept"


def test_what_cannot_begin_is_said(pair: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.close()
    with closing(executor(rebuild=toy.rebuild_badly)) as bad:
        bad.submit(job(0, "quick"))
        with pytest.raises(RunFailed, match="a worker failed: ValueError: the data is gone"):
            bad.collect()
    refused = r"executor\.workers: 3 of 1 cpus each, and the cluster has 2"
    with closing(executor(workers=3)) as many, pytest.raises(ConfigError, match=refused):
        many.submit(job(0, "quick"))
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'nasmeta\[ray\]'"):
        RayExecutor.check_installed()


def test_a_search_is_that_of_one_trial_after_the_other(tmp_path: Path, pair: RayExecutor) -> None:
    pair.close()
    by_ray = ["executor=ray", "executor.workers=2", "executor.address=local"]
    assert searched(tmp_path / "ray", *by_ray) == searched(tmp_path / "serial", "executor=serial")


def test_a_search_that_is_killed_is_resumed_exactly(tmp_path: Path, pair: RayExecutor) -> None:
    """But for its learning curves: what was read within a second before the kill is lost."""
    pair.close()
    directory = tmp_path / "ray"
    by_ray = ["executor=ray", "executor.workers=2", "executor.address=local"]
    command = ["search", *RANDOM, *by_ray, f"hydra.run.dir={directory}"]
    assert spawn(command, kill_at=8) == -signal.SIGKILL
    assert spawn(["resume", str(directory)]) == 0
    assert '"event":"resumed"' in (directory / "journal.jsonl").read_text()
    whole = searched(tmp_path / "serial", "executor=serial")
    assert {**ended(directory), "curves": None} == {**whole, "curves": None}


SMALL = [
    *("dataset=strokes", "dataset.size=12", "dataset.examples=4", "dataset.train_classes=4"),
    *("dataset.valid_classes=4", "dataset.test_classes=4", "task.way=2", "task.shot=1", "task.query=1"),
    *("search_space=conv_small", "search_space.widths=[4]", "meta_learner=protonet", "strategy=random"),
    *("budget.trials=2", "budget.search_iterations=1", "budget.final_candidates=1"),
    *("budget.final_iterations=1", "budget.valid_tasks=2", "budget.final_tasks=2", "budget.test_tasks=2"),
    *("device=cpu", "logger=none", "progress=false"),
]
RAY = ["executor=ray", "executor.workers=1", "executor.address=local"]
PREDICT = """
import sys
sys.modules["ray"] = None  # importing it raises ImportError
from nasmeta.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_what_was_searched_with_ray_predicts_where_ray_is_not(tmp_path: Path, pair: RayExecutor) -> None:
    pair.close()
    run, support = tmp_path / "run", tmp_path / "support"
    assert main(["search", *SMALL, *RAY, f"hydra.run.dir={run}"]) == 0
    assert TrainedNetwork.load(run, trusted=False).config["executor"]["_target_"].endswith("RayExecutor")
    for label, shade in (("dark", 20), ("light", 230)):
        save(support / label / "0.png", shade)
    images = sorted(map(str, support.rglob("*.png")))
    command = ["predict", str(run), "--support", str(support), "--query", *images]
    done = subprocess.run([sys.executable, "-c", PREDICT, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["file", *images]


def test_a_machine_that_is_taken_away_costs_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: a process that has had one cluster cannot have one of another kind."""
    monkeypatch.delenv("RAY_OVERRIDE_RESOURCES")
    alone = multiprocessing.get_context("spawn").Process(target=take_a_machine_away, args=(tmp_path,))
    alone.start()
    alone.join()
    assert alone.exitcode == 0


def take_a_machine_away(folder: Path) -> None:
    """Three machines with a trial each; afterwards two, and all results in the order of the jobs.

    The trial that begins twice is read twice.
    """
    from ray.cluster_utils import Cluster

    soon = {f"health_check_{name}": n for name, n in SOON.items()}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": soon}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
        readings = list[int]()
        options = {"address": cluster.address, "follow": lambda job, progress: readings.append(job.trial)}
        with closing(executor(workers=3, **options)) as three:
            for trial in range(3):
                three.submit(job(trial, "patient", folder))
            wait_for(lambda: len(pids(folder)) == 3)
            cluster.remove_node(machines[0], allow_graceful=False)
            wait_for(lambda: not all(map(is_alive, pids(folder))))
            (folder / "go").touch()
            told = [three.collect()[1] for _ in range(3)]
            three.submit(job(3, "quick"))
            told.append(three.collect()[1])
        assert [(result.trial, result.status) for result in told] == [(n, "ok") for n in range(4)]
        assert len(pids(folder)) == 4, "one trial began twice"
        assert sorted(set(readings)) == [0, 1, 2]
        assert len(readings) == 4
    finally:
        cluster.shutdown()


SOON = {"initial_delay_ms": 0, "period_ms": 1000, "failure_threshold": 3}
"""So that Ray notices within seconds that a machine is gone."""


def pids(folder: Path) -> list[str]:
    return [line for file in folder.glob("*.pt") for line in file.read_text().splitlines()]


def is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(happened: Callable[[], bool]) -> None:
    while not happened():
        time.sleep(0.02)


def test_workers_read_no_files_of_the_data(tmp_path: Path) -> None:
    """What is sent to them has the images in it, and they compute as the run itself does."""
    root = tmp_path / "pictures"
    for label in range(12):
        for number in range(4):
            save(root / f"c{label:02}" / f"{number}.png", 20 * label + number)
    overrides = ["dataset=image_folder", f"dataset.root={root}", "dataset.size=12", "dataset.channels=1"]
    rest = [word for word in [*SMALL, *RAY] if not word.startswith("dataset")]
    composition = Composition.of(parse(composed([*overrides, *rest]), trusted=True))
    composition.evaluators.load()
    sent = pickle.dumps(
        partial(rebuild, composition.config, fingerprints(composition), "cpu", composition.dataset)
    )
    shutil.rmtree(root)
    shutil.rmtree(Path(composition.config.groups["dataset"]["cache"]).expanduser(), ignore_errors=True)
    arch = str(composition.space.reference())
    results = [
        judge(replace(job(0, arch, tmp_path), iterations=1), lambda progress: None, lambda: False)
        for judge in (composition.evaluators.evaluate, pickle.loads(sent)())
    ]
    assert results[0].valid_accuracy == results[1].valid_accuracy
