"""Every command on the hostile corpus: nothing is run, read, written or contacted, and every command ends.

NASMETA_HOSTILE is how many inputs are tried. NASMETA_HOSTILE_FROM is the number of the first one, to repeat
an input.
"""

import os
import signal
from pathlib import Path

import pytest

from nasmeta import seeding
from tests.cli.kills import spawn
from tests.cli.runs import SHORT
from tests.datasets.pictures import save
from tests.hostile import sandbox
from tests.hostile.corpus import MAKERS, Spoil, Templates, make
from tests.hostile.mutations import Values

INPUTS = int(os.environ.get("NASMETA_HOSTILE", "20"))
FIRST = int(os.environ.get("NASMETA_HOSTILE_FROM", "0"))
AT_ONCE = 10


def arguments(pictures: Path, *more: str) -> list[str]:
    """The arguments of a run on images that takes a second."""
    kept = [
        o
        for o in SHORT
        if o.split("=")[0] not in ("dataset", "search_space") and o[:5] not in ("meta_", "strat")
    ]
    dataset = ["dataset=image_folder", f"dataset.root={pictures}", "dataset.size=16", "dataset.min_images=2"]
    task = ["task.way=2", "task.shot=1", "task.query=1", "dataset.cache=null"]
    return [
        "search",
        *kept,
        *dataset,
        *task,
        "search_space=conv_small",
        "strategy=nsga2",
        "strategy.population_size=2",
        *more,
    ]


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    folder = tmp_path_factory.mktemp("templates")
    pictures = folder / "pictures"
    for label in range(10):
        for number in range(2):
            save(pictures / str(label) / f"{number}.png", (25 * label, 90 * number, 0), (16, 16))
    run, interrupted, sweep = (folder / name for name in ("run", "interrupted", "sweep"))
    assert spawn([*arguments(pictures), "logger=tensorboard", f"hydra.run.dir={run}"]) == 0
    killed = [
        "search",
        *SHORT,
        "save_seconds=0",
        "budget.search_iterations=20",
        f"hydra.run.dir={interrupted}",
    ]
    assert spawn(killed, kill_at=14, torn=True) == -signal.SIGKILL
    jobs = ["search", "-m", *SHORT, "seed=1,2", f"hydra.sweep.dir={sweep}"]
    assert spawn(jobs) == 0
    return Templates(run, interrupted, sweep, pictures)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("first", range(FIRST, FIRST + INPUTS, AT_ONCE))
def test_every_command_on_hostile_inputs(first: int, templates: Templates, tmp_path: Path) -> None:
    numbers = range(first, min(first + AT_ONCE, FIRST + INPUTS))
    found = [told for number in numbers for told in faults(number, templates, tmp_path / str(number))]
    assert not found, "\n\n".join(found)


@pytest.mark.parametrize("kind", sorted(MAKERS.keys() - {"archive"}))
def test_the_corpus_is_made_of_what_the_commands_take(
    kind: str, templates: Templates, tmp_path: Path
) -> None:
    """If nothing is spoilt, all commands succeed. Omniglot's archives are left out: they cannot be made."""
    stranger, user = sandbox.prepare(tmp_path)
    unspoilt = Spoil(seeding.stream(0, "corpus"), 0, Values(user), [])
    for ended in sandbox.visit(MAKERS[kind](unspoilt, templates, stranger), tmp_path):
        assert not ended.faults, ended
        assert ended.code == 0, ended


def faults(number: int, templates: Templates, folder: Path) -> list[str]:
    """What the commands on an input did but must not do, each with how to repeat it."""
    stranger, user = sandbox.prepare(folder)
    hostile = make(number, templates, stranger, user)
    return [
        f"NASMETA_HOSTILE_FROM={number} NASMETA_HOSTILE=1, {hostile.kind}: {hostile.told}\n"
        f"{' '.join(ended.command)}: {ended.code}: {'; '.join(ended.faults)}\n{ended.text}"
        for ended in sandbox.visit(hostile.commands, folder)
        if ended.faults
    ]
