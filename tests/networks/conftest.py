"""What the tests of networks share: one precision, whichever tests ran before in the same process."""

import pytest
import torch

from nasmeta.runtime import device
from tests.networks.norms import DEVICE


@pytest.fixture(autouse=True)
def _single_precision() -> None:
    """PyTorch itself convolves in TF32 on a GPU, and then Triton's kernels do, too."""
    device.pick(DEVICE, "fp32")
    if torch.cuda.is_available():  # a test may have left another stream
        torch.cuda.set_stream(torch.cuda.default_stream())
