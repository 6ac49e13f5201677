"""The content of summary.json."""

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
    """The summary of a run. Accuracies are fractions.

    searched: the results of the search's trials. best, reference: metrics and meta-test of either network.
    difference: best minus reference over the same tasks. trained: whether networks were trained; if not, the
    numbers come from a table, and `task` and `batch_norm`, which they do not depend on, are null.
    simulated_seconds: the seconds that the trials would have taken, None if times are not simulated. pareto:
    the front, None unless the strategy had several objectives. settings_changed: what `resume --force`
    changed; the results then mix two settings.
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
        "pareto": pareto,
    }


def _command() -> str:
    """The command that was typed. For `nasmeta search`, the program's name includes "search", for Hydra."""
    program = sys.argv[0] if sys.argv[0].startswith("nasmeta ") else "nasmeta"
    return f"{program} {shlex.join(sys.argv[1:])}"


def versions() -> dict[str, str]:
    """The versions of the software that a result depends on."""
    import numpy
    import torch

    return {
        "nasmeta": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def metrics(result: TrialResult) -> dict[str, Any]:
    """What a checkpoint and the summary hold of a result: accuracies as fractions, seconds, counts."""
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
    """Whether a meta-test gave a finite number. A loss may have diverged on the new tasks."""
    return math.isfinite(tested.value if isinstance(tested, Score) else tested.accuracy)


def tested_numbers(tested: Score | MetaTested | None) -> dict[str, Any]:
    """The numbers of a meta-test for the summary. The loss is None for a table, or if it is not finite."""
    loss, tasks = (tested.loss, tested.tasks) if isinstance(tested, Score) else (None, None)
    if loss is not None and not math.isfinite(loss):  # the accuracy next to it says how bad it is
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
    """Mean and 95% half-width of best minus reference over the same tasks; None for numbers from a table.

    The differences are paired by task, so the interval is narrower than that of either network.
    """
    if not (isinstance(best, Score) and isinstance(reference, Score)):
        return None
    paired = best.per_task - reference.per_task
    return {"mean": float(paired.mean()), "ci95": ci95(paired)}
