"""Runs that take a second: a tiny network on the sinusoid, and how to start them."""

import json
from pathlib import Path
from typing import Any

from nasmeta.cli.main import main
from nasmeta.run.manifest import MANIFEST

TINY = [
    "dataset=sinusoid",
    "search_space=mlp",
    "meta_learner=fomaml",
    "meta_learner.inner_lr=0.01",
    "meta_learner.learn_inner_lr=false",
    "device=cpu",
    "logger=none",
    "progress=false",
    "task.shot=5",
    "task.query=5",
    "task.meta_batch=2",
    "budget.trials=4",
    "budget.search_iterations=3",
    "budget.final_candidates=2",
    "budget.final_iterations=4",
    "budget.valid_tasks=20",
    "budget.final_tasks=20",
    "budget.test_tasks=20",
    "strategy.population_size=2",
    "strategy.sample_size=2",
]
SAVED = [*TINY, "save_seconds=0"]
"""For runs that are killed, at a counted write: they save after every iteration."""

SHORT = [
    *TINY,
    "budget.trials=2",
    "budget.final_candidates=1",
    "budget.valid_tasks=2",
    "budget.final_tasks=2",
    "budget.test_tasks=2",
]
"""For the jobs of a sweep."""


def search(directory: Path, *overrides: str) -> int:
    """The exit code of a tiny run in `directory`."""
    return main(["search", *TINY, f"hydra.run.dir={directory}", *overrides])


def jobs(sweep: Path) -> list[dict[str, Any]]:
    """The jobs of a sweep, as its manifest has them."""
    found: list[dict[str, Any]] = json.loads((sweep / MANIFEST).read_text())["jobs"]
    return found
