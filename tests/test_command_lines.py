"""Printed commands: a shell reads back the words that they are made of."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nasmeta.config.overrides import composed
from nasmeta.config.schema import GROUPS, needs_trust, resolved
from nasmeta.runtime.command_lines import SearchCommand, command_line, typed

WORDS = [
    "plain",
    "a b",
    "key=value",
    "it's",
    'say "no"',
    "$HOME `id` \\",
    "*?[a]~",
    "é",
    "",
    "two\nlines",
    "tab\tand \x1b[1m",
    os.fsdecode(b"not \xff utf-8 '"),
    "dataset.root='a=b, c'",
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_shell_reads_the_words_back() -> None:
    script = f"printf '%s\\0' {typed(WORDS)}"
    read = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    assert [os.fsdecode(word) for word in read.split(b"\0")[:-1]] == WORDS
    assert typed(WORDS).isprintable(), "so it is on one line, and steers no terminal"


def test_a_folder_is_no_option() -> None:
    assert command_line("resume", Path("-run")) == "nasmeta resume ./-run"


@pytest.mark.parametrize(
    "override, trusted",
    [
        ("seed=1", False),
        ("strategy._target_=tests.test_command_lines.Mine", True),
        ("evaluator._target_=nowhere.Mine", True),
    ],
)
def test_code_of_ones_own_needs_trust(override: str, trusted: bool) -> None:
    values = resolved(composed([override]))
    assert needs_trust(values) == trusted
    assert command_line("resume", Path("run"), trusted=trusted).endswith("--trust-code") == trusted


def test_later_overrides_replace_earlier_ones() -> None:
    first = SearchCommand(
        ("--config-dir", "/a b"), ("strategy=evolution", "strategy.sample_size=2", "+seed=1", "x=2")
    )
    later = first.changed(["seed=3", "strategy=random", "seed=4"], GROUPS)
    assert later == SearchCommand(("--config-dir", "/a b"), ("x=2", "strategy=random", "seed=4"))
    assert str(later) == "nasmeta search --config-dir '/a b' x=2 strategy=random seed=4"
