"""The story of docs/small-devices.md, with the converter to TFLite and a C compiler."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs import test_commands

desk, here = test_commands.desk, test_commands.here

PAGE = (ROOT / "docs" / "small-devices.md").read_text(encoding="utf-8")


@pytest.mark.extra("tflite")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_the_story(here: Path) -> None:
    test_commands.test_it_works_as_written(test_commands.BLOCK.findall(PAGE)[0], here)
    (program,) = re.findall(r"^```c\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (here / "parts" / "device.c").write_text(program)
    flags = ["-std=c99", "-Wall", "-Werror", "-Wno-unused-variable", "-fsyntax-only"]
    subprocess.run(["gcc", *flags, "device.c"], cwd=here / "parts", check=True)
