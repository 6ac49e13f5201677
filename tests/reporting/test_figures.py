"""What draws the figures depends on nothing in the current folder."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
