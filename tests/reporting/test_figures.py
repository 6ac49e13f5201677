"""What draws the figures depends on nothing in the current folder."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nasmeta.reporting.figures.canvas import new_figure, rgb
from nasmeta.reporting.figures.panel import positive_axis, short

PACKAGE = Path(__file__).resolve().parents[2] / "nasmeta"
DRAW = """
import io
from nasmeta.reporting.figures.canvas import new_figure
from nasmeta.reporting.pages.page import picture
figure = new_figure(2, 2)
figure.add_subplot().set_xlabel("x")
print(hash(picture(figure)[:30]), figure.get_facecolor())
"""


@pytest.mark.parametrize("rc", ["text.usetex: True\n", "figure.facecolor: red\n", "\xff\xfe", "pipe"])
def test_a_matplotlibrc_of_the_current_folder_is_not_obeyed(rc: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "latex").write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    (tmp_path / "bin" / "latex").chmod(0o755)
    if rc == "pipe":
        os.mkfifo(tmp_path / "matplotlibrc")
    else:
        (tmp_path / "matplotlibrc").write_text(rc, encoding="latin-1")
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", DRAW],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "(1.0, 1.0, 1.0, 1.0)" in done.stdout
    assert not done.stderr
    assert not ran.exists()


def test_matplotlib_is_imported_behind_its_door_alone() -> None:
    for path in PACKAGE.rglob("*.py"):
        modules = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        imports = {name for name in modules if name.partition(".")[0] == "matplotlib"}
        assert not imports or path == PACKAGE / "reporting" / "figures" / "canvas.py", (
            f"{path} imports {imports}"
        )


@pytest.mark.parametrize("values", [(101e3, 112e3), (60e3, 95e3), (40e3, 180e3), (2e3, 3e6)], ids=str)
def test_an_axis_of_costs_has_numbers_whatever_its_range(values: tuple[float, float]) -> None:
    figure = new_figure(5, 3)
    axes = figure.subplots()
    axes.plot(values, (0, 1))
    positive_axis(axes, values, short)
    rgb(figure)  # draws it, which places the ticks
    low, high = axes.get_xlim()
    ticks = [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]
    shown = [tick for tick in ticks if tick.label1.get_text() and low <= tick.get_loc() <= high]
    assert len(shown) >= 2
