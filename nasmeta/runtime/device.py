"""The device that a run computes on."""

import torch

from nasmeta.errors import ConfigError


def pick(name: str, *, tf32: bool) -> torch.device:
    """The device named by `device: auto | cpu | cuda[:N] | mps`; auto prefers CUDA, then MPS, then the CPU.

    Raises ConfigError if this machine has no such device. Also sets two options of the whole process:
    convolutions are deterministic, so that a run can be resumed exactly, and CUDA's matrix products use
    TF32 if `tf32`.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: {name!r} is not a device; use auto, cpu, cuda, cuda:N or mps") from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        there = ", ".join(kind for kind, there in available.items() if there)
        raise ConfigError(f"device: {name!r} is not on this machine; use {there}, or auto")
    return device
