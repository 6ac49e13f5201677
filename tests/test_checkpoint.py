import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.errors import CheckpointError
from nasmeta.training import checkpoint
from nasmeta.training.trained_network import FORMAT, TrainedNetwork

BEST: dict[str, Any] = {
    "arch": "a",
    "task": {"kind": "regression", "input_shape": (1,), "outputs": 1, "train_classes": 0},
    "format": FORMAT,
    "nasmeta": "0.1.0",
    "config": {},
    "adaptive": None,
    "preprocessing": None,
    "calibration": None,
    "parameters": {"w": torch.arange(6.0).reshape(2, 3)},
    "statistics": {},
    "data": {
        split: {"classes": [], "images": None, "fingerprint": split} for split in ("train", "valid", "test")
    },
    "provisional": False,
    "iterations": 3,
    "metrics": {"valid_accuracy": 0.5},
}


def test_a_round_trip_keeps_values_strides_and_bits(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    checkpoint.save(tmp_path / "c.pt", {"weight": weight, "iteration": 3})
    loaded = checkpoint.load(tmp_path / "c.pt")
    assert torch.equal(loaded["weight"], weight)
    assert loaded["weight"].stride() == weight.stride()
    assert loaded["iteration"] == 3
    assert os.listdir(tmp_path) == ["c.pt"], "no temporary file is left behind"


def test_best_carries_its_format_and_task(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "best.pt", BEST)
    loaded = TrainedNetwork.load(tmp_path, trusted=False)
    assert loaded.task.input_shape == (1,)
    assert torch.equal(loaded.parameters["w"], BEST["parameters"]["w"])
    loaded.save()
    again = torch.load(tmp_path / "best.pt", weights_only=True)
    assert again.keys() == BEST.keys()
    assert again["data"] == BEST["data"]
    assert torch.load(tmp_path / "best.pt", weights_only=True)["arch"] == "a"


def test_a_newer_format_says_to_update(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "best.pt", {**BEST, "format": 99, "nasmeta": "9.0"})
    with pytest.raises(CheckpointError, match=r"best\.pt: .*format 99\b.*9\.0"):
        TrainedNetwork.load(tmp_path / "best.pt", trusted=False)


def test_an_older_format_says_to_train_again(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "best.pt", {**BEST, "format": 2, "nasmeta": "0.0.9"})
    with pytest.raises(CheckpointError, match=r"best\.pt: .*format 2\b.*0\.0\.9"):
        TrainedNetwork.load(tmp_path / "best.pt", trusted=False)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"format": 1, "x": Hostile()}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"best.pt: refused"):
        checkpoint.load(tmp_path / "best.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04 nothing", pickle.dumps({"format": 1})], ids=str
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.pt: "):
        TrainedNetwork.load(tmp_path / "best.pt", trusted=False)


def test_truncated_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: "):
        checkpoint.load(tmp_path / "none.pt")
    checkpoint.save(tmp_path / "best.pt", BEST)
    whole = (tmp_path / "best.pt").read_bytes()
    for keep in (10, len(whole) // 2, len(whole) - 30):
        (tmp_path / "best.pt").write_bytes(whole[:keep])
        with pytest.raises(CheckpointError, match=r"best\.pt: damaged"):
            TrainedNetwork.load(tmp_path / "best.pt", trusted=False)


def test_other_files_of_tensors_lack_what_ours_have(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt: .*adaptive, arch"):
        TrainedNetwork.load(tmp_path / "other.pt", trusted=False)
