"""Meta-testing a checkpoint: `nasmeta evaluate`."""

from pathlib import Path
from typing import Any

from nasmeta import checkpoint
from nasmeta.composition import Composition
from nasmeta.config import resolve
from nasmeta.errors import CheckpointError
from nasmeta.evaluators.problem import new_state
from nasmeta.meta_learners.base import MetaState
from nasmeta.meta_learners.score import score
from nasmeta.overrides import reconfigured
from nasmeta.rundir import RunDirectory


def meta_test(path: Path, overrides: list[str], *, trusted: bool) -> dict[str, Any]:
    """Adapts the checkpoint to its meta-test tasks, or to those that the overrides ask for.

    Returns accuracy (a fraction, None for regression), ci95, loss, tasks, way, shot, query, batch_norm,
    arch and checkpoint. Without overrides this is the number in summary.json, exactly.
    """
    path, saved = load(path, trusted=trusted)
    config = reconfigured(saved["config"], overrides, trusted=trusted)
    composition = Composition.of(config)
    state = restore(path, saved, composition)
    keys = config.keys
    tested = score(composition.learner, state, composition.sampler("test"), keys.budget.test_tasks)
    return {
        "accuracy": tested.accuracy,
        "ci95": tested.ci95,
        "loss": tested.loss,
        "tasks": tested.tasks,
        "way": keys.task.way,
        "shot": keys.task.shot,
        "query": keys.task.query,
        "batch_norm": keys.batch_norm,
        "arch": saved["arch"],
        "checkpoint": str(path),
    }


def load(path: Path, *, trusted: bool) -> tuple[Path, dict[str, Any]]:
    """A checkpoint's path and contents, of best.pt or its run directory. Raises CheckpointError."""
    file = path / "best.pt" if path.is_dir() else path
    _check_trained(file, trusted=trusted)
    return file, checkpoint.load_best(path)


def _check_trained(path: Path, *, trusted: bool) -> None:
    """Raises CheckpointError where `path` is not there, and is a run's whose evaluator trains no network."""
    directory = RunDirectory(path.parent)
    if path.exists() or not directory.config.is_file():
        return
    evaluator = directory.load_config().get("evaluator")
    target = evaluator.get("_target_") if isinstance(evaluator, dict) else evaluator
    if not resolve("evaluator", target, trusted=trusted).trains_networks():
        raise CheckpointError(
            f"{path}: there is none: the run's evaluator, {target}, looks accuracies up and trains no "
            f"network; they are in {directory.summary}"
        )


def restore(path: Path, saved: dict[str, Any], composition: Composition) -> MetaState:
    """The meta-learned state of a checkpoint, on the composition's device."""
    arch = composition.space.parse(saved["arch"])
    stored_spec = checkpoint.task_spec(saved)
    spec = composition.task
    if spec.input_shape != stored_spec.input_shape or spec.kind != stored_spec.kind:
        raise CheckpointError(
            f"{path}: was meta-learned on {stored_spec.kind} of inputs {list(stored_spec.input_shape)}, "
            f"the dataset gives {spec.kind} of {list(spec.input_shape)}: "
            "set dataset.size and dataset.channels"
        )
    state = new_state(
        composition.space,
        arch,
        composition.learner,
        stored_spec,
        composition.config.keys.seed,
        composition.device,
        composition.execution,
    )
    checkpoint.fits(path, lambda s: state.load(s["parameters"], s["statistics"]), saved)
    return composition.learner.for_ways(state, spec.outputs)
