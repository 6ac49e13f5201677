"""`nasmeta search --help` and the completion of a shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.config.schema import OPTION_GROUPS


def test_help_begins_with_the_groups_and_has_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--help", "strategy=nsga2"]) == 0
    text = capsys.readouterr().out
    groups, keys = text.split("Keys of every run")
    for group in OPTION_GROUPS:
        assert any(line.startswith(f"  {group} ") for line in groups.splitlines()), group
    assert "*nsga2, predictor" in groups
    assert "trials: 12                # architectures to look at" in keys
    assert "crossover_prob: 0.9     # probability" in keys.split("Keys of strategy=nsga2")[1]
    assert "hydra:" not in keys
    assert "_target_" not in keys


def completed(line: str, folder: Path) -> list[str]:
    """What bash offers for a command line."""
    command = folder / "nasmeta"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m nasmeta "$@"\n')
    command.chmod(0o755)
    words = line.split(" ")
    script = f"""
        eval "$(nasmeta completion)"
        COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1} COMP_LINE="{line}"
        _nasmeta
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_keys_and_options(tmp_path: Path) -> None:
    assert completed("nasmeta re", tmp_path) == ["report", "resume"]
    assert completed("nasmeta search dataset=s", tmp_path) == ["dataset=sinusoid", "dataset=strokes"]
    assert "budget.trials=" in completed("nasmeta search dataset=omniglot budget.t", tmp_path)
