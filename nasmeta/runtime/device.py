"""The device that a run computes on."""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock, Timeout

from nasmeta.errors import ConfigError
from nasmeta.runtime.paths import cache_folder

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "tf32", "bf16"]

LEAST_USED = "cuda:auto"
"""Places the runs that have this name on the GPUs of their machine in turn."""


def pick(name: str, precision: Precision, key: str = "device") -> torch.device:
    """The device named by `device: auto | cpu | cuda[:N] | cuda:auto | mps`.

    auto prefers CUDA, then MPS, then the CPU. cuda:auto is the same GPU for all of this process.

    Raises ConfigError, which names `key`, if this machine has no such device. Also sets options of the whole
    process. Convolutions are deterministic, so that a run can be resumed exactly. On a CUDA device they use
    TF32 if `precision` is auto (as PyTorch does by default) or tf32, and matrix products do if it is tf32.
    """
    torch.backends.cudnn.allow_tf32 = precision in ("auto", "tf32")
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name == LEAST_USED and torch.cuda.is_available():
        seen = range(torch.cuda.device_count())
        return torch.device(
            "cuda", _place.claim([str(torch.cuda.get_device_properties(n).uuid) for n in seen])
        )
    try:
        device = torch.device("cuda" if name == LEAST_USED else name)
    except RuntimeError as error:
        raise ConfigError(
            f"{key}: {name!r} is not a device; use auto, cpu, cuda, cuda:N, {LEAST_USED} or mps"
        ) from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        there = ", ".join(kind for kind, there in available.items() if there)
        raise ConfigError(f"{key}: {name!r} is not on this machine; use {there}, or auto")
    return device


def kind(device: torch.device) -> str:
    """What results depend on: "cpu", "mps", or a GPU's model, whichever of several equal ones it is."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def wait(device: torch.device) -> None:
    """Waits until the device has done what it was told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Place:
    """A place on a GPU, which this process has by a file in `folder` that it locks.

    The system releases the lock when the process ends. Places have the names of their GPUs and not their
    numbers, since a cluster may show each process one GPU of a machine, and all of them as number 0.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._held = folder, ExitStack()
        self._index: int | None = None
        self._free = count()

    def claim(self, devices: Sequence[str]) -> int:
        """The number of the first device with a free place. Raises ConfigError.

        devices: what no other device has as its name, on any machine.
        """
        while self._index is None:
            turn, index = divmod(next(self._free), len(devices))
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(self._folder / f"{devices[index]}-{turn}.lock", timeout=0)
                self._held.enter_context(lock)
            except Timeout:
                continue
            except OSError as error:
                raise ConfigError(f"device: {LEAST_USED}: {self._folder}: {error.strerror}") from error
            self._index = index
            if turn:
                warn_of_sharing(turn + 1)
        return self._index

    def give_back(self) -> None:
        """Lets another process have it. To be called by one that has only checked what others will run."""
        self._held.close()
        self._index, self._free = None, count()


_place = Place(Path(cache_folder()).expanduser() / "nasmeta" / "devices")
give_back = _place.give_back


def warn_of_sharing(processes: int) -> None:
    """Warns that several processes on one GPU take turns, unless NVIDIA's Multi-Process Service runs."""
    pipe = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")) / "control"
    if not pipe.exists():
        log.warning(
            "%d processes share a GPU and take turns without NVIDIA's MPS: 12 trials took one process 38 s "
            "and four 41 s; start it with nvidia-cuda-mps-control -d, or use fewer",
            processes,
        )
