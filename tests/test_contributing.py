"""The worked example of docs/extending.md: what a newcomer is told to write works as it stands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

GUIDE = (ROOT / "docs" / "extending.md").read_text()
# A line `PATH`: and the block under it.
FILE = re.compile(
    r"^`(?P<path>[\w/.]+)`:\n\n```(?:python|yaml)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
SEARCH = re.compile(r"^nasmeta (search .*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this one with the example's files in it, and nothing else changed."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("nasmeta", "conf", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    files = {match["path"]: match["text"] for match in FILE.finditer(GUIDE)}
    assert set(files) == {"nasmeta/strategies/hill_climbing.py", "conf/strategy/hill_climbing.yaml"}
    for path, text in files.items():
        assert not (folder / path).exists(), f"{path} is there already: the example needs another name"
        (folder / path).write_text(text)
    return folder


def python(checkout: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_listed(checkout: Path) -> None:
    assert "stochastic hill climbing: edit the best" in python(checkout, "nasmeta", "list", "strategy")


def test_its_command_searches(checkout: Path) -> None:
    search = SEARCH.findall(GUIDE)[0]
    quick = ["search_space=conv_small", "debug=default", "logger=none", "hydra.run.dir=run"]
    few = [f"dataset.{split}_classes=5" for split in ("train", "valid", "test")]
    python(checkout, "nasmeta", *search.split(), *quick, *few, "dataset.size=16", "task.query=2")
    lines = (checkout / "run" / "journal.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    archs = [event["arch"] for event in events if event["event"] == "asked"]
    assert len(archs) == len(set(archs)) >= 3
    assert (checkout / "run" / "best.pt").is_file()


def test_the_contract_tests_find_it(checkout: Path) -> None:
    """But for the one about hash seeds, which knows the options of our own strategies only."""
    out = python(
        checkout, "pytest", "tests/strategies/test_contract.py", "-k", "hill_climbing and not hash_seed"
    )
    assert re.search(r"\d+ passed", out), out


def test_it_keeps_the_house_rules(checkout: Path) -> None:
    python(checkout, "ruff", "check", "nasmeta/strategies/hill_climbing.py")
    python(checkout, "ruff", "format", "--check", "nasmeta/strategies/hill_climbing.py")
