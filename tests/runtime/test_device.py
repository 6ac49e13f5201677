"""Which device a run computes on, and how runs are placed on several in turn."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nasmeta.errors import ConfigError
from nasmeta.run.placement import check_devices, sharing
from nasmeta.runtime import device
from nasmeta.runtime.device import LEAST_USED, Place, Precision, pick, warn_of_sharing


def test_processes_are_placed_on_devices_in_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each Place stands for a process. One that ends frees its place for the next."""
    places = [Place(tmp_path / "devices") for _ in range(4)]
    assert [place.claim("ab") for place in places[:2]] == [0, 1]
    assert places[0].claim("ab") == 0, "a process keeps its device"
    assert not caplog.text
    assert places[2].claim("ab") == 0
    assert "2 processes share a GPU" in caplog.text
    places[1].give_back()
    assert places[3].claim("ab") == 1
    assert places[1].claim("ab") == 1


def test_processes_that_see_one_gpu_each_do_not_share_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Slurm shows every job its own GPUs, numbered from 0."""
    first, second, third = (Place(tmp_path) for _ in range(3))
    assert [first.claim("a"), second.claim("b")] == [0, 0]
    assert not caplog.text
    assert third.claim("ba") == 0
    assert "2 processes share a GPU" in caplog.text


def test_the_name_of_any_gpu_is_one_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="device: 'cuda:auto' is not on this machine"):
            pick(LEAST_USED, "fp32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: SimpleNamespace(uuid=f"gpu {n}"))
    first, second = Place(tmp_path), Place(tmp_path)
    for place, expected in ((first, "cuda:0"), (second, "cuda:1"), (first, "cuda:0")):
        monkeypatch.setattr(device, "_place", place)
        assert str(pick(LEAST_USED, "fp32")) == expected
    with pytest.raises(ConfigError, match=r"executor\.devices: 'cuda:2' is not on this machine"):
        pick("cuda:2", "fp32", key="executor.devices")


@pytest.fixture
def options_of_torch() -> Iterator[None]:
    """Puts back what `pick` sets."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(
    "precision, convolutions, products",
    [("auto", True, False), ("fp32", False, False), ("tf32", True, True), ("bf16", False, False)],
)
@pytest.mark.parametrize("before", [True, False])
def test_what_uses_tf32(
    precision: Precision, convolutions: bool, products: bool, before: bool, options_of_torch: None
) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = before
    pick("cpu", precision)
    assert torch.backends.cudnn.allow_tf32 is convolutions
    assert torch.backends.cuda.matmul.allow_tf32 is products


def test_auto_is_what_torch_does_by_default() -> None:
    code = "import torch; print(torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_sharing_a_gpu_is_no_matter_with_mps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        warn_of_sharing(4)
        assert "4 processes share a GPU" in caplog.text
        caplog.clear()
        (tmp_path / "control").touch()
        warn_of_sharing(4)
        assert not caplog.text


@pytest.mark.parametrize(
    "executor,share",
    [
        ({}, 1),
        ({"workers": 4, "devices": None, "per_device": 1}, 4),
        ({"workers": 4, "devices": ["cuda:0", "cuda:1"], "per_device": 2}, 2),
        ({"workers": 4, "devices": ["cpu"], "per_device": 2}, 1),
        ({"workers": 4, "gpus": 1}, 1),
        ({"workers": 4, "gpus": 0.5}, 2),
        ({"workers": 2, "gpus": 0.1}, 2),
    ],
)
def test_how_many_workers_share_a_gpu(executor: dict[str, object], share: int) -> None:
    assert sharing(executor, torch.device("cuda")) == share
    assert sharing({**executor, "devices": None}, torch.device("cpu")) == 1


def test_workers_on_ray_that_see_no_gpu_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"executor\.gpus: 0"):
        check_devices({"workers": 2, "gpus": 0}, torch.device("cuda"), "fp32")
    check_devices({"workers": 2, "gpus": 0.5}, torch.device("cuda"), "fp32")
    check_devices({"workers": 2, "gpus": 0}, torch.device("cpu"), "fp32")
