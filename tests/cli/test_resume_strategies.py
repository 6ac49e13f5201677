"""Every other strategy, killed and resumed: a kill in this process, at a counted write, instead of SIGKILL.

Candidates are scored by a count of parameters, so that what is tested is the strategy's own replay.
"""

from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.run import journal
from nasmeta.runtime import files
from tests.cli.kills import outcome
from tests.cli.runs import TINY

BASE = [o for o in TINY if not o.startswith(("strategy.", "budget."))]
FAST = [
    *BASE,
    "budget.trials=7",
    "budget.search_iterations=1",
    "budget.final_candidates=1",
    "budget.final_iterations=1",
    "budget.valid_tasks=2",
    "budget.final_tasks=2",
    "budget.test_tasks=2",
]
UNTRAINED = ["evaluator=zero_cost", "evaluator.proxy=params", "evaluator.batches=1"]
STRATEGIES = {
    "random": UNTRAINED,
    "local_search": [*UNTRAINED, "strategy.starts=2"],
    "reinforce": UNTRAINED,
    "predictor": [
        *UNTRAINED,
        "strategy.initial=3",
        "strategy.mutants=5",
    ],
    "astar": ["strategy.goal=1e9"],
    "iddfs": ["strategy.goal=1e9", "strategy.branch=2"],
}
TUNED = [
    "strategy=evolution",
    "strategy.population_size=2",
    "strategy.sample_size=2",
    "tune={meta_learner.inner_lr: {low: 0.001, high: 0.1, log: true}, optimizer.lr: [0.001, 0.01]}",
]
RUNS = {name: [f"strategy={name}", *options] for name, options in STRATEGIES.items()} | {"tuned": TUNED}


class Killed(BaseException):
    """Stands for SIGKILL: nothing after the write happens, but for the closing of files."""


def killed(arguments: list[str], kill_at: int) -> bool:
    """Whether the command was killed at the `kill_at`-th write, and not over before."""
    writes = 0
    append, replace = journal.Journal.append, files.write_atomically

    def count() -> None:
        nonlocal writes
        writes += 1
        if writes >= kill_at:
            raise Killed

    def counted_append(self: journal.Journal, event: str, **values: Any) -> Any:
        count()
        return append(self, event, **values)

    def counted_replace(*arguments: Any, **where: Any) -> None:
        count()
        replace(*arguments, **where)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal.Journal, "append", counted_append)
        patch.setattr(files, "write_atomically", counted_replace)
        try:
            assert main(arguments) == 0
        except Killed:
            return True
    return False


@pytest.mark.parametrize("name", RUNS)
def test_killed_again_and_again(name: str, tmp_path: Path) -> None:
    arguments = ["search", *FAST, *RUNS[name]]
    assert main([*arguments, f"hydra.run.dir={tmp_path / 'unbroken'}"]) == 0
    directory = tmp_path / "run"
    command, kills = [*arguments, f"hydra.run.dir={directory}"], 0
    while killed(command, kill_at=12):
        command, kills = ["resume", str(directory)], kills + 1
        assert kills < 20, "the run makes no progress"
    assert kills >= 2
    assert outcome(directory) == outcome(tmp_path / "unbroken")
