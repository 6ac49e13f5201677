"""Runs that several modules report on; none of them changes what is in them."""

from pathlib import Path

import pytest

from nasmeta.cli.main import main
from tests.cli.runs import search
from tests.reporting.stored_runs import TABLE, table_search


@pytest.fixture(scope="session")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of accuracies on a table: nothing is trained, there is no best.pt."""
    return table_search(tmp_path_factory.mktemp("table") / "run", "seed=2")


@pytest.fixture(scope="session")
def front_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of two objectives beside the accuracy, with its stored front."""
    options = ("strategy=nsga2", "strategy.population_size=5", "strategy.objectives=[params,flops]")
    return table_search(tmp_path_factory.mktemp("front") / "run", *options)


@pytest.fixture(scope="session")
def sine_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression whose networks are trained, and which validation prefers to the reference."""
    directory = tmp_path_factory.mktemp("sine") / "run"
    assert search(directory, "seed=1") == 0
    return directory


@pytest.fixture(scope="session")
def failed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which every trial diverges."""
    directory = tmp_path_factory.mktemp("failed") / "run"
    assert search(directory, "meta_learner.inner_lr=1e30", "budget.trials=30") == 1
    return directory


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three strategies by two seeds."""
    directory = tmp_path_factory.mktemp("a sweep") / "sweep"
    grid = ["-m", "seed=0,1", "strategy=random,evolution,nsga2", f"hydra.sweep.dir={directory}"]
    assert main(["search", *TABLE, "budget.trials=8", *grid]) == 0
    return directory
