"""The run that killed ones are compared with, for modules that have `arguments(name, directory)`."""

from pathlib import Path

import pytest

from tests.cli.kills import spawn


@pytest.fixture(scope="module")
def unbroken(name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of `name`, a fixture of the module, that was never interrupted."""
    directory = tmp_path_factory.mktemp(name) / "run"
    assert spawn(request.module.arguments(name, directory)) == 0
    return directory
