"""Every command in README and docs works as it is written there.

Bash reads a block of commands as a user's shell would, but `nasmeta` and the other programs are functions
that only record their arguments. Each recorded `nasmeta` command then runs in this process, in a folder that
has what the pages speak of: pictures, a finished run, tables, an option of one's own. A search or a training
is cut short by the smallest budget at its end. Scripts take minutes to hours: they run until their arguments
are parsed, and have tests of their own.
"""

import argparse
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasmeta.cli.main import main
from nasmeta.datasets import omniglot
from nasmeta.search_spaces.nasbench201 import Nasbench201Space
from nasmeta.seeding import stream
from tests.classifier.pictures import picture
from tests.conftest import ROOT
from tests.datasets.pictures import archive
from tests.evaluators.tables import write_benchmark

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, text in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
]
RECORDED = ("nasmeta", "tensorboard", "git", "pip", "cd", "source", "mkdocs")
EXTRAS = {
    "tflite-int8": "litert_torch",
    "hydra/launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "hydra/sweeper=optuna": "optuna",
    "export": "onnxruntime",
}
"""What an argument needs that a user installs first; of several arguments, the first here counts."""

WORKED_EXAMPLE = "strategy=hill_climbing"
"""tests/test_contributing.py runs it in a checkout that has the example's files."""

WORKED: set[tuple[str, ...]] = set()
"""Commands that have run."""

RUN = Path("outputs/2026-11-24/10-00-00")
SMALL = [
    "debug=default",
    "task.query=2",
    "task.meta_batch=1",
    "budget.trials=2",
    "budget.search_iterations=2",
    "budget.final_iterations=4",  # enough for three rounds
    "budget.valid_tasks=2",
    "budget.final_tasks=2",
    "budget.test_tasks=2",
    "logger=none",
    "progress=false",
]
FEW = [*(f"dataset.{split}_classes=10" for split in ("train", "valid", "test")), "dataset.size=16"]
"""Instead of the default dataset's, whose drawings take seconds."""

SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "scripts").rglob("*") if path.is_file())


def commands(block: str, folder: Path) -> list[list[str]]:
    """What the block's commands are called with: [program, argument, ...] of each."""
    functions = "".join(
        f"{name}() {{ printf '%s\\0' {name} \"$@\"; printf '\\n\\0'; }}\n" for name in (*RECORDED, *SCRIPTS)
    )
    functions += 'taskset() { shift 2; "$@"; }\n'  # -c CORES, then the command
    done = subprocess.run(["bash", "-c", functions + block], cwd=folder, capture_output=True, check=True)
    parts = done.stdout.decode().split("\n\0")
    assert parts[-1] == "", f"a command of the block is not recorded: {parts[-1]!r}"
    return [part.removesuffix("\0").split("\0") for part in parts[:-1]]


def class_folders(root: Path, labels: range, images: int) -> None:
    for label in labels:
        folder = root / f"c{label:02}"
        folder.mkdir(parents=True)
        for number in range(images):
            Image.fromarray(picture(label, number)).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of, and a home folder with pictures in it."""
    folder = tmp_path_factory.mktemp("desk")
    class_folders(folder / "home" / "pictures", range(25), 6)
    class_folders(folder / "examples", range(30, 33), 3)
    class_folders(folder / "home" / "others", range(40, 65), 6)
    (folder / "photos").mkdir()
    for number in range(3):
        Image.fromarray(np.asarray(picture(30 + number, 9))).save(folder / "photos" / f"{number}.jpg")
    (folder / "my_conf" / "strategy").mkdir(parents=True)
    (folder / "my_conf" / "strategy" / "mine.yaml").write_text("_target_: my_package.Mine\n")
    (folder / "my_package.py").write_text("from nasmeta.strategies.random import RandomSearch as Mine\n")
    (folder / "FOLDER").mkdir()
    space, rng = Nasbench201Space(width=4, stages=1, repeats=1), stream(0, "desk")
    rows = dict.fromkeys([str(space.reference()), *(str(space.sample(rng)) for _ in range(2000))])
    benchmark = folder / "FOLDER" / "nasbench201_cifar10.csv"
    write_benchmark(benchmark, [(arch, 50 + i % 40, 60) for i, arch in enumerate(rows)])
    pictures = [
        "dataset=image_folder",
        f"dataset.root={folder}/home/pictures",
        "dataset.size=16",
        "batch_norm=running",
    ]
    assert main(["search", *pictures, f"hydra.run.dir={folder / RUN}", *SMALL]) == 0
    return folder


@pytest.fixture
def here(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the desk as the current folder."""
    folder = tmp_path / "desk"
    shutil.copytree(desk, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    downloaded = folder / "cache" / "nasmeta" / "omniglot"
    downloaded.mkdir(parents=True)
    alphabets = [f"alphabet{number}" for number in range(10)]
    background = archive(downloaded / "images_background.zip", dict.fromkeys(alphabets[:7], 2))
    evaluation = archive(downloaded / "images_evaluation.zip", dict.fromkeys(alphabets[7:], 2))
    monkeypatch.setitem(omniglot.ARCHIVES, "full", (background, evaluation))
    return folder


class Parsed(Exception):
    """A script understands its arguments."""


def check_script(script: Path, arguments: list[str]) -> None:
    """A script can be run, and one in Python understands the arguments; Bash only reads its own."""
    assert os.access(script, os.X_OK), script
    if b"bash" in script.read_bytes().splitlines()[0]:
        subprocess.run(["bash", "-n", script], check=True)
        return
    with pytest.MonkeyPatch.context() as patch:
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, only(getattr(argparse.ArgumentParser, name)))
        patch.setattr(sys, "argv", [str(script), *arguments])
        patch.syspath_prepend(str(script.parent))
        with pytest.raises(Parsed):
            runpy.run_path(str(script), run_name="__main__")


def only(parse: Callable[..., Any]) -> Callable[..., Any]:
    """`parse`, after which the script ends."""

    def parsed(*arguments: Any) -> None:
        parse(*arguments)
        raise Parsed

    return parsed


def shortened(arguments: list[str]) -> list[str]:
    """The same command with the smallest budget: the last value of a key counts."""
    if arguments[0] == "train":
        return [*arguments, "budget.final_iterations=4"]
    if arguments[0] == "bench":
        return ["bench", "--seconds", "0", "--repeats", "1", *arguments[1:], *FEW]
    if arguments[0] != "search" or "--cfg" in arguments:
        return arguments
    if "evaluator=tabular" in arguments:  # costs little as it is, and its table has few budgets
        return [*arguments, "budget.trials=2", "logger=none", "progress=false", *FEW]
    drawn = not any(argument.startswith("dataset=") for argument in arguments)
    return [*arguments, *SMALL, *(FEW if drawn else [])]


@pytest.mark.parametrize("block", BLOCKS)
def test_it_works_as_written(block: str, here: Path) -> None:
    for program, *arguments in commands(block, here):
        if program.startswith("scripts/"):
            check_script(ROOT / program, arguments)
        elif program == "nasmeta" and WORKED_EXAMPLE not in arguments:
            if needed := [module for word, module in EXTRAS.items() if word in arguments]:
                pytest.importorskip(needed[0])
            arguments = shortened(arguments)
            if (program, *arguments) not in WORKED:  # several pages have it
                assert main(arguments) == 0, " ".join(arguments)
                WORKED.add((program, *arguments))


@pytest.mark.parametrize(
    "command", ["nasmeta search no.such.key=1", "scripts/bench/ranking.py --no-such-option 1"]
)
def test_a_wrong_command_is_seen(command: str, here: Path) -> None:
    with pytest.raises((AssertionError, SystemExit)):
        test_it_works_as_written(f"{command}\n", here)
