"""A hostile best.pt ends in one line that names the file, quickly and with little memory."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from nasmeta.errors import CheckpointError
from nasmeta.training import checkpoint
from nasmeta.training.trained_network import TrainedNetwork
from tests.hostile.makers import Canary, change_checkpoint, run
from tests.hostile.test_configurations import loop, nested


def at(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(saved: dict[str, Any]) -> None:
        inner = saved
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return change


def first_tensor(value: torch.Tensor) -> Callable[[dict[str, Any]], None]:
    return lambda saved: saved["parameters"].update({next(iter(saved["parameters"])): value})


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "shared lists": (at("config", "dataset", value=nested(60, wide=True)), "more than .* values"),
    "a loop": (at("config", "dataset", value=loop()), "more than .* values"),
    "a deep list": (at("config", "dataset", value=nested(300, wide=False)), "config"),
    "an interpolation": (at("config", "device", value="${oc.env:HOME}"), "config"),
    "a tensor in the configuration": (at("config", "seed", value=torch.zeros(2)), "config"),
    "an architecture without end": (at("arch", value="fc16.relu.none_" * 300_000), "arch"),
    "no text": (at("arch", value=7), "arch"),
    "too many outputs": (at("task", "outputs", value=10**12), "outputs"),
    "fewer than none": (at("task", "outputs", value=-3), "outputs"),
    "too many classes": (at("task", "train_classes", value=10**12), "train_classes"),
    "an absurd shape": (at("task", "input_shape", value=(10**9, 10**9, 10**9)), "input_shape"),
    "no shape": (at("task", "input_shape", value=()), "input_shape"),
    "another task": (at("task", "kind", value="a game"), "kind"),
    "more than a task": (at("task", "more", value=1), "more"),
    "no tensors": (at("parameters", value={"w": [1.0]}), "parameters"),
    "no names": (at("parameters", value={1: torch.zeros(1)}), "parameters"),
    "a view of nothing": (first_tensor(torch.zeros(1).expand(10**12)), "claim more than"),
    "sparse": (first_tensor(torch.zeros(3).to_sparse()), "tensor of|storage|layout"),
    "on no device": (first_tensor(torch.zeros(3, device="meta")), "tensor of|device"),
    "a set": (at("metrics", "x", value={1}), "holds a set"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.timeout(30)
def test_faults_are_a_line(finished: Path, tmp_path: Path, canary: Canary, fault: str) -> None:
    change, told = FAULTS[fault]
    path = tmp_path / "run" / "best.pt"
    path.parent.mkdir()
    path.write_bytes((finished / "best.pt").read_bytes())
    change_checkpoint(path, change)
    with pytest.raises(CheckpointError, match=told) as raised:
        TrainedNetwork.load(path, trusted=False)
    assert str(path) in str(raised.value)
    outcome = run(canary, path.parent, "evaluate", str(path))
    assert outcome.code == 2
    assert str(path) in outcome.err


def test_what_a_run_wrote_is_read(finished: Path) -> None:
    saved = TrainedNetwork.load(finished, trusted=False)
    raw = torch.load(finished / "best.pt", weights_only=True)
    assert saved.config == raw["config"]
    assert asdict(saved.task) == raw["task"]
    assert all(torch.equal(saved.parameters[name], value) for name, value in raw["parameters"].items())


def test_views_of_one_storage_are_counted(finished: Path, tmp_path: Path) -> None:
    """A file of one megabyte whose tensors would take a hundred megabytes if each was copied."""
    path = tmp_path / "best.pt"
    path.write_bytes((finished / "best.pt").read_bytes())
    numbers = torch.zeros(250_000)
    many = {f"w{n}": numbers.view(1, -1) for n in range(100)}
    change_checkpoint(path, lambda saved: saved["parameters"].update(many))
    with pytest.raises(CheckpointError, match="claim more than 4 times the bytes"):
        TrainedNetwork.load(path, trusted=False)


def test_a_network_larger_than_what_is_stored_is_not_built(
    finished: Path, tmp_path: Path, canary: Canary
) -> None:
    path = tmp_path / "run" / "best.pt"
    path.parent.mkdir()
    path.write_bytes((finished / "best.pt").read_bytes())

    def change(saved: dict[str, Any]) -> None:
        saved["config"]["search_space"]["widths"] = [65536]
        saved["arch"] = "fc65536.relu.none_fc65536.relu.none"

    change_checkpoint(path, change)
    outcome = run(canary, path.parent, "evaluate", str(path))
    assert outcome.code == 2
    assert f"{path}: does not fit" in outcome.err


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """A small file whose checksums would take days to compute."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"0" * 10_000)
        first = archive.infolist()[0]
        for number in range(1000):
            twin = zipfile.ZipInfo(f"archive/{number}")
            for name in ("CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(twin, name, getattr(first, name))
            archive.filelist.append(twin)
    path = tmp_path / "best.pt"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="overlap"):
        checkpoint.load(path)
