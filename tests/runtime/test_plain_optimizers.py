"""torch's optimizers without their guards: the same bits, and torch._dynamo is never loaded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from nasmeta.runtime import plain_optimizers

KINDS: dict[str, dict[str, Any]] = {
    "Adam": {"lr": 0.1, "weight_decay": 0.01, "foreach": True},
    "AdamW": {"lr": 0.1, "weight_decay": 0.1},
    "RMSprop": {"lr": 0.1, "momentum": 0.5},
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
}


def descended(kind: type[Optimizer], options: dict[str, Any]) -> list[Tensor]:
    """Parameters after steps of two groups, with a state_dict that is loaded in between, and the moments."""
    one = torch.linspace(-1, 1, 6).requires_grad_()
    other = torch.linspace(1, 2, 4).view(2, 2).requires_grad_()
    groups = [{"params": [one]}, {"params": [other], "lr": 0.01}]
    optimizer = kind(groups, **options)  # type: ignore[arg-type]
    for step in range(6):
        optimizer.zero_grad()
        (one.square().sum() + other.sin().sum()).backward()
        optimizer.step()
        if step == 2:
            state = optimizer.state_dict()
            optimizer = kind(groups, **options)  # type: ignore[arg-type]
            optimizer.load_state_dict(state)
    moments = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
    return [one.detach(), other.detach(), *moments]


@pytest.mark.parametrize("name", KINDS)
def test_they_do_what_torchs_do(name: str) -> None:
    found = descended(getattr(plain_optimizers, name), KINDS[name])
    expected = descended(getattr(torch.optim, name), KINDS[name])
    assert len(found) == len(expected) > 2
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_step_is_no_part_of_the_graph() -> None:
    parameter = torch.ones(2, requires_grad=True)
    optimizer = plain_optimizers.SGD([parameter], lr=0.5)
    parameter.grad = torch.ones(2, requires_grad=True)
    optimizer.step()
    assert parameter.is_leaf
    assert parameter.tolist() == [0.5, 0.5]


def test_a_run_never_loads_what_only_compilation_needs(tmp_path: Path) -> None:
    """It takes as long to import as torch."""
    run = """
import sys
from nasmeta.cli.main import main
overrides = "debug=default dataset=strokes logger=none progress=false budget.trials=2 hydra.run.dir=run"
assert main(["search", *overrides.split()]) == 0
assert "torch" in sys.modules
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", run], check=True, capture_output=True, cwd=tmp_path)
