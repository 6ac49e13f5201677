"""With augmented images and the best iterate kept: killed and resumed, a run ends as if never interrupted."""

from pathlib import Path

from tests.cli.kills import kill_again_and_again, outcome, spawn
from tests.cli.runs import SAVED

IMAGES = [
    *("dataset=strokes", "dataset.train_classes=8", "dataset.valid_classes=6", "dataset.test_classes=6"),
    *(
        "dataset.size=14",
        "search_space=conv",
        "search_space.max_blocks=2",
        "search_space.max_downsamples=2",
        "search_space.widths=[4,8]",
    ),
    *("meta_learner=protonet", "task.way=2", "task.shot=1", "task.query=2", "batch_norm=running"),
]
KEEP = ["augment=handwriting", "budget.keep=best", "budget.judge_every=2", "budget.final_iterations=5"]
BASE = [o for o in SAVED if not o.startswith(("dataset", "search_space", "meta_learner", "task."))]


def arguments(directory: Path, *overrides: str) -> list[str]:
    return ["search", *BASE, *IMAGES, "task.meta_batch=2", *KEEP, *overrides, f"hydra.run.dir={directory}"]


def test_killed_again_and_again(tmp_path: Path) -> None:
    unbroken, directory = tmp_path / "unbroken", tmp_path / "run"
    overrides = ["optimizer.lr=0.05", "budget.trials=2", "budget.final_candidates=1"]
    assert spawn(arguments(unbroken, *overrides)) == 0
    assert kill_again_and_again(arguments(directory, *overrides), directory, 7) >= 4
    assert outcome(directory) == outcome(unbroken)
