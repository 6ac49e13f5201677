"""The devices of a run's workers: whether they are there, and how many workers share one."""

from collections.abc import Mapping
from typing import Any

import torch

from nasmeta.errors import ConfigError
from nasmeta.runtime.device import Precision, pick


def check_devices(executor: Mapping[str, Any], device: torch.device, precision: Precision) -> None:
    """Raises ConfigError if the workers of an executor, given by its options, lack what they compute on.

    device: the run's own. precision: see `pick`.
    """
    for name in executor.get("devices") or ():
        pick(name, precision, key="executor.devices")
    if device.type == "cuda" and executor.get("gpus") == 0:
        raise ConfigError(
            "executor.gpus: 0, so that workers see no GPU, and the run computes on one; give each worker a "
            "GPU or a share, for example executor.gpus=0.5, or use device=cpu"
        )


def sharing(executor: Mapping[str, Any], device: torch.device) -> int:
    """How many workers of an executor, given by its options, compute on the same GPU; 1 if none do."""
    devices = executor.get("devices")
    if not str(devices[0] if devices else device).startswith("cuda"):
        return 1
    workers: int = executor.get("per_device", 1) if devices else executor.get("workers", 1)
    share = executor.get("gpus", 0)
    return min(workers, max(1, int(1 / share))) if share else workers
