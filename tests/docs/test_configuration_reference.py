"""docs/configuration.md is what the YAML files say."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.scripts import load

reference = load("configuration_reference.py")

CONTINUED = re.compile(r"^ *\w+:.* # .*\n {8,}# ", re.MULTILINE)
"""A comment beside a value that another line goes on with: the page has the first line only."""


def test_the_page_is_current() -> None:
    script = ROOT / "scripts" / "configuration_reference.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_key_has_a_meaning() -> None:
    """A comment that is missing, or that goes on behind the next line, is seen on the page alone."""
    page = reference.PAGE.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows
    assert not [row for row in rows if row.endswith("|  |")]
    assert not [path for path in (ROOT / "conf").rglob("*.yaml") if CONTINUED.search(path.read_text())]


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
