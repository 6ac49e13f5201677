"""Runs that the makers change, and a canary."""

from pathlib import Path

import pytest

from nasmeta.cli.main import main
from tests.cli.runs import SHORT
from tests.hostile.makers import Canary


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended a second after it began. Not to be changed: see makers.copy_of."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    assert main(["search", *SHORT, f"hydra.run.dir={directory}"]) == 0
    return directory


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "user")
