"""Runs on pictures that take a second, one for each way in which queries are normalized."""

from pathlib import Path

import pytest
from PIL import Image

from nasmeta.cli.main import main
from tests.classifier.pictures import picture

SHORT = [
    "dataset=image_folder",
    "dataset.size=16",
    "dataset.channels=3",
    "dataset.cache=null",
    "dataset.min_images=1",
    "search_space=conv_small",
    "device=cpu",
    "logger=none",
    "progress=false",
    "task.way=3",
    "task.shot=2",
    "task.query=3",
    "budget.trials=2",
    "budget.search_iterations=2",
    "budget.final_candidates=1",
    "budget.final_iterations=8",
    "budget.valid_tasks=4",
    "budget.final_tasks=4",
    "budget.test_tasks=8",
    "strategy=random",
]
MAML = ["meta_learner=fomaml", "meta_learner.learn_inner_lr=false", "meta_learner.inner_lr=0.1"]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for label in range(16):
        (folder / f"c{label:02}").mkdir()
        for number in range(6):
            Image.fromarray(picture(label, number)).save(folder / f"c{label:02}" / f"{number}.png")
    return folder


def trained(root: Path, tmp_path_factory: pytest.TempPathFactory, *overrides: str) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    assert main(["search", *SHORT, f"dataset.root={root}", f"hydra.run.dir={run}", *overrides]) == 0
    return run


@pytest.fixture(scope="session")
def maml(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that is narrow and adapts too slowly to be always right: a change shows in its accuracy."""
    return trained(root, tmp_path_factory, *MAML, "search_space.widths=[8]", "meta_learner.inner_lr=0.01")


@pytest.fixture(scope="session")
def protonet(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(root, tmp_path_factory, "meta_learner=protonet")


@pytest.fixture(scope="session")
def transductive(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(root, tmp_path_factory, *MAML, "batch_norm=transductive")


@pytest.fixture(scope="session")
def running(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(root, tmp_path_factory, "meta_learner=protonet", "batch_norm=running")
