"""The cells of docs/notebook.ipynb run one after the other, as a kernel runs them."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

CELLS = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]


def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell whose tag names a package is left out if that is not installed."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, cell in enumerate(CELLS):
        if cell["cell_type"] == "code" and all(map(find_spec, cell["metadata"].get("tags", []))):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert [run.status for run in names["runs"].runs] == ["done", "done"]
    assert names["runs"].best.path.parent.name == "outputs"
    assert names["classifier"].score(names["pictures"], names["labels"]) > 0.5


def test_no_output_is_stored() -> None:
    assert not any(cell.get("outputs") for cell in CELLS)
