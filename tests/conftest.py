"""What all tests share: where the real data is, one thread, so that two test runs never fight, and a seed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nasmeta import seeding

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_seed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Modules that a test builds draw the same weights every time; torch seeds every process anew."""
    with seeding.torch_stream(0, "tests", request.node.name):
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images (never committed); tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("NASMETA_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "images_background_small1.zip").is_file():
        pytest.skip(f"no Omniglot archives in {folder}; set NASMETA_SHARED_DATA")
    return folder
