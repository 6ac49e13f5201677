"""What summary.json says of a run."""

import platform
import shlex
import sys
from typing import Any

from nasmeta import __version__
from nasmeta.composition import Composition
from nasmeta.evaluators.base import TrialResult

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
) -> dict[str, Any]:
    """The summary; accuracies are fractions, `difference` is best minus reference over the same tasks.

    Where no network was `trained` (the numbers are a table's), `task` and `batch_norm`, which the numbers
    do not depend on, are null. `simulated_seconds` is what the search's trials stand for, or null.
    `pareto` is there where the strategy had several objectives.
    """
    keys = composition.config.keys
    batch_norm = keys.batch_norm if trained else None
    return {
        "format": FORMAT,
        "command": shlex.join(["nasmeta", *sys.argv[1:]]),
        "seed": keys.seed,
        "device": str(composition.device),
        "versions": versions(),
        "kind": composition.task.kind,
        "task": keys.task.model_dump() if trained else None,
        "trained": trained,
        "trials": len(searched),
        "failed_trials": sum(result.status == "failed" for result in searched),
        "wall_seconds": wall_seconds,
        "simulated_seconds": simulated_seconds,
        "best": {**best, "batch_norm": batch_norm},
        "reference": {**reference, "batch_norm": batch_norm},
        "difference": difference,
        **({} if pareto is None else {"pareto": pareto}),
    }


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
