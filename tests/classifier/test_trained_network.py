"""What a checkpoint needs of the run that made it: no strategy, evaluator or executor, and no Hydra."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.training import checkpoint

USE = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None  # importing it raises ImportError
from nasmeta import FewShotClassifier
classes = {{label: [f"{root}/c{{label:02}}/{{n}}.png" for n in range(3)] for label in (0, 1)}}
files = [file for images in classes.values() for file in images]
classifier = FewShotClassifier.load({path!r}, device="cpu")
classifier.fit(files, [label for label, images in classes.items() for _ in images])
assert len(classifier.predict(files)) == 6
print(*sys.modules)
"""


def used(path: Path, root: Path, *hidden: str) -> set[str]:
    """The modules of a process that loads the checkpoint, fits and predicts, where `hidden` are not there."""
    script = USE.format(hidden=hidden, root=root, path=str(path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.split())


def with_option(run: Path, folder: Path, **options: dict[str, Any]) -> Path:
    """A copy of the run's checkpoint whose configuration has other options."""
    saved = checkpoint.load(run / "best.pt")
    checkpoint.save(folder / "best.pt", {**saved, "config": {**saved["config"], **options}})
    return folder / "best.pt"


RAY = {"_target_": "nasmeta.executors.ray.Ray", "address": "203.0.113.5:6379"}
OWN = {"_target_": "somewhere.else.Strategy", "option": 1}


def test_the_classifier_loads_nothing_of_the_search(protonet: Path, root: Path, tmp_path: Path) -> None:
    path = with_option(protonet, tmp_path, executor=RAY, strategy=OWN, evaluator=OWN)
    modules = used(path, root, "ray")
    found = {".".join(name.split(".")[:2]) for name in modules}
    unwanted = {"nasmeta.strategies", "nasmeta.evaluators", "nasmeta.executors", "hydra"}
    assert not found & unwanted
    assert "nasmeta.meta_learners" in found


def test_an_own_strategy_is_not_needed_and_an_own_learner_is_trusted_first(
    protonet: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = with_option(protonet, tmp_path, executor=RAY, strategy=OWN, evaluator=OWN)
    assert main(["evaluate", str(path), "--json"]) == 0
    with_option(protonet, tmp_path, meta_learner=OWN)
    assert main(["evaluate", str(path)]) == 2
    err = capfd.readouterr().err
    assert "meta_learner._target_" in err
    assert "--trust-code" in err
