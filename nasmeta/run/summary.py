"""What summary.json says of a run."""

import math
import platform
import shlex
import sys
from typing import Any

from nasmeta import __version__
from nasmeta.run.composition import Composition
from nasmeta.training.score import Score, ci95
from nasmeta.trial import MetaTested, TrialResult

FORMAT = 1


def describe(
    composition: Composition,
    searched: list[TrialResult],
    *,
    best: dict[str, Any],
    reference: dict[str, Any],
    difference: dict[str, float] | None,
    trained: bool,
    wall_seconds: float,
    simulated_seconds: float | None,
    pareto: list[dict[str, Any]] | None,
    settings_changed: list[str],
) -> dict[str, Any]:
    """The summary; accuracies are fractions, `difference` is best minus reference over the same tasks.

    Where no network was `trained` (the numbers are a table's), `task` and `batch_norm`, which the numbers
    do not depend on, are null. `simulated_seconds` is what the search's trials stand for, or null.
    `pareto` is there where the strategy had several objectives. `settings_changed` is what `resume --force`
    changed on the way, so that the results mix two settings.
    """
    keys = composition.config.keys
    batch_norm = keys.batch_norm if trained else None
    return {
        "format": FORMAT,
        "command": _command(),
        "seed": keys.seed,
        "device": str(composition.device),
        "versions": versions(),
        "kind": composition.task.kind,
        "task": keys.task.model_dump() if trained else None,
        "trained": trained,
        "trials": len(searched),
        "failed_trials": sum(result.status == "failed" for result in searched),
        "settings_changed": settings_changed,
        "wall_seconds": wall_seconds,
        "simulated_seconds": simulated_seconds,
        "best": {**best, "batch_norm": batch_norm},
        "reference": {**reference, "batch_norm": batch_norm},
        "difference": difference,
        **({} if pareto is None else {"pareto": pareto}),
    }


def _command() -> str:
    """What was typed. `nasmeta search` leaves that as the name of the program, for Hydra to show."""
    program = sys.argv[0] if sys.argv[0].startswith("nasmeta ") else "nasmeta"
    return f"{program} {shlex.join(sys.argv[1:])}"


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    import numpy
    import torch

    return {
        "nasmeta": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def metrics(result: TrialResult) -> dict[str, Any]:
    """What a checkpoint and the summary say of a result: accuracies as fractions, seconds, counts."""
    names = (
        "arch",
        "valid_accuracy",
        "valid_ci95",
        "valid_loss",
        "params",
        "flops",
        "train_seconds",
        "reason",
    )
    values = result.to_dict()
    return {name: values[name] for name in names}


def has_result(tested: Score | MetaTested) -> bool:
    """Whether a meta-test came to a number: a loss that is compared may have diverged on the new tasks."""
    return math.isfinite(tested.value if isinstance(tested, Score) else tested.accuracy)


def tested_numbers(tested: Score | MetaTested | None) -> dict[str, Any]:
    """What was tested, for the summary; a table knows neither the loss nor the tasks."""
    loss, tasks = (tested.loss, tested.tasks) if isinstance(tested, Score) else (None, None)
    if loss is not None and not math.isfinite(loss):  # beside an accuracy, which says how bad it is
        loss = None
    return {
        "test_accuracy": tested.accuracy if tested else None,
        "test_ci95": tested.ci95 if tested else None,
        "test_loss": loss,
        "test_tasks": tasks if tested else 0,
    }


def paired_difference(
    best: Score | MetaTested, reference: Score | MetaTested | None
) -> dict[str, float] | None:
    """Mean and 95% interval of (best - reference) over the same tasks: paired, so narrower than either's.

    None where there are no tasks that both were tested on.
    """
    if not (isinstance(best, Score) and isinstance(reference, Score)):
        return None
    paired = best.per_task - reference.per_task
    return {"mean": float(paired.mean()), "ci95": ci95(paired)}
