"""Events as a run announces them, for the observers' tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nasmeta.run.events import RunFinished, RunStarted, TrialFinished, TrialStarted
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.task import TaskBatch
from nasmeta.trial import TrialResult

CONV4 = "conv3-64.bn.relu.max_conv3-64.bn.relu.max_conv3-64.bn.relu.max_conv3-64.bn.relu.max_flatten"
SMALL = "conv3-16.bn.relu.max_conv3-16.bn.relu.max_gap"


def image_batch(way: int = 5, shot: int = 2, query: int = 3, channels: int = 1, side: int = 28) -> TaskBatch:
    """Two tasks whose image of label l, whatever it is, is filled with l."""
    labels = torch.arange(way)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = labels.repeat_interleave(count).expand(2, -1)
        return y[..., None, None, None].float().expand(2, way * count, channels, side, side), y

    support, query_part = part(shot), part(query)
    return TaskBatch(*support, *query_part, labels.expand(2, way))


def sine_batch(tasks: int = 2) -> TaskBatch:
    x = torch.linspace(-5, 5, 15).reshape(1, 15, 1).expand(tasks, 15, 1)
    y = torch.sin(x)
    return TaskBatch(x[:, :5], y[:, :5], x[:, 5:], y[:, 5:], torch.empty(tasks, 0, dtype=torch.int64))


def chain(*operations: str) -> ArchitectureGraph:
    builder = GraphBuilder()
    for operation in operations:
        builder.add(operation, 16)
    return builder.finish()


def graph_of(operations: list[str], edges: list[tuple[int, int]]) -> ArchitectureGraph:
    adjacency = np.zeros((len(operations), len(operations)), dtype=np.bool_)
    for source, target in edges:
        adjacency[source, target] = True
    return ArchitectureGraph(tuple(operations), adjacency, (16,) * len(operations))


SETTINGS = {
    "budget.valid_tasks": 100,
    "budget.final_candidates": 1,
    "budget.final_rounds": 1,
    "budget.final_seeds": 1,
    "budget.final_iterations": 20,
    "budget.final_tasks": 100,
    "budget.test_tasks": 100,
}
"""A full training has twice the 10 meta-iterations of a trial. Everything is judged on as many tasks."""


def run_started(episode: TaskBatch | None = None, **changes: Any) -> RunStarted:
    values: dict[str, Any] = {
        "directory": "outputs/run",
        "trials": 3,
        "finished": 0,
        "resumed": False,
        "batch_norm": "support",
        "settings": SETTINGS,
        "episode": image_batch() if episode is None else episode,
    }
    return RunStarted(**{**values, **changes})


def trial_started(trial: int, phase: Any = "search", arch: str = SMALL, iterations: int = 10) -> TrialStarted:
    return TrialStarted(phase, trial, arch, iterations, chain("conv3", "bn", "relu", "gap"))


def trial_finished(
    trial: int, accuracy: float | None, best: bool, phase: Any = "search", **changes: Any
) -> TrialFinished:
    values: dict[str, Any] = {
        "trial": trial,
        "arch": CONV4,
        "iterations": 10,
        "status": "ok",
        "valid_accuracy": accuracy,
        "valid_ci95": 0.008,
        "valid_loss": 0.25,
        "params": 111_936,
        "flops": 21_300_000,
        "train_seconds": 40.0,
        "seconds": 41.0,
    }
    return TrialFinished(phase, TrialResult(**{**values, **changes}), best)


def trial_failed(trial: int, reason: str) -> TrialFinished:
    nothing = {"valid_ci95": None, "valid_loss": None, "status": "failed", "reason": reason}
    return trial_finished(trial, None, best=False, **nothing)


def side(**changes: Any) -> dict[str, Any]:
    """One of `best` and `reference` in a summary."""
    values: dict[str, Any] = {
        "arch": CONV4,
        "valid_accuracy": 0.93,
        "valid_ci95": 0.005,
        "valid_loss": 0.2,
        "test_accuracy": 0.934,
        "test_ci95": 0.004,
        "test_loss": 0.21,
        "test_tasks": 600,
        "params": 111_936,
        "flops": 21_300_000,
        "train_seconds": 723.0,
        "batch_norm": "support",
        "iterations": 2000,
    }
    return {**values, **changes}


def standing(accuracy: float | None, *, is_reference: bool = False, **changes: Any) -> dict[str, Any]:
    """How an architecture did in the finals; one without an accuracy has failed."""
    return {
        "arch": CONV4 if is_reference else SMALL,
        "is_reference": is_reference,
        "iterations": 2000,
        "networks": 1,
        "failed": int(accuracy is None),
        "valid_accuracy": accuracy,
        "valid_loss": None if accuracy is None else 0.2,
        "params": 111_936,
        "reason": "Diverged" if accuracy is None else None,
        **changes,
    }


def summary(
    best: dict[str, Any],
    reference: dict[str, Any] | None,
    difference: tuple[float, float] | None,
    chosen: str = "searched",
    finalists: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "format": 1,
        "command": "nasmeta search",
        "seed": 0,
        "device": "cpu",
        "versions": {},
        "trials": 20,
        "failed_trials": 1,
        "wall_seconds": 3725.0,
        "kind": "classification" if best["test_accuracy"] is not None else "regression",
        "task": {"way": 5, "shot": 1, "query": 15},
        "chosen": chosen,
        "finalists": list(finalists),
        "best": best,
        "reference": reference,
        "difference": None if difference is None else {"mean": difference[0], "ci95": difference[1]},
    }


def run_finished(best: dict[str, Any] | None = None) -> RunFinished:
    hparams: dict[str, str | int | float | bool] = {"seed": 0, "meta_learner": "maml", "task.way": 5}
    return RunFinished(summary(best or side(arch=SMALL), side(), None), hparams)
