"""Fixtures: a run for the makers to change, and a canary."""

from pathlib import Path

import pytest

from nasmeta.cli.main import main
from tests.cli.runs import SHORT
from tests.hostile.makers import Canary


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that took a second. Tests change a copy of it, see makers.copy_of."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    assert main(["search", *SHORT, f"hydra.run.dir={directory}"]) == 0
    return directory


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "user")
