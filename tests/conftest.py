"""What all tests share: where the real data is, and one thread, so that two test runs never fight."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images (never committed); tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("NASMETA_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "images_background_small1.zip").is_file():
        pytest.skip(f"no Omniglot archives in {folder}; set NASMETA_SHARED_DATA")
    return folder
