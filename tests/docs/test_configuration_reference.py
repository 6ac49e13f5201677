"""docs/configuration.md is what the YAML files say."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.scripts import load

reference = load("configuration_reference.py")


def test_the_page_is_current() -> None:
    script = ROOT / "scripts" / "configuration_reference.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text, expected",
    [
        ("seed: 0  # of all draws\n", [("seed", "`0`", "of all draws")]),
        (
            "task:\n  way: 5\n  shot: ???  # images\n",
            [("task.way", "`5`", ""), ("task.shot", "*required*", "images")],
        ),
        ("ops: [a, 'b']  # both\n", [("ops", "`[a, 'b']`", "both")]),
        ("ops:  # both\n  - a\n  - b\n", [("ops", "`['a', 'b']`", "both")]),
        ("root: 'a # b'\n", [("root", "`'a # b'`", "")]),
        ("# two\n# lines\nskip: true\n", [("skip", "`true`", "two lines")]),
        ("# only words\n", []),
    ],
)
def test_keys_defaults_and_comments(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert list(reference.rows(text)) == expected
