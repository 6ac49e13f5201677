"""The end of a run: the chosen network and the reference are tested once, on the same tasks."""

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from nasmeta.errors import RunFailed
from nasmeta.meta_learners.state import MetaState
from nasmeta.run import per_task
from nasmeta.run.environment import settings_changed
from nasmeta.run.finals import Finalist, Finals
from nasmeta.run.finished import stored_summary
from nasmeta.run.outputs import save_network
from nasmeta.run.records import Started, Tested, command
from nasmeta.run.summary import (
    FORMAT,
    Calibrated,
    Chosen,
    Difference,
    Side,
    Standing,
    Summary,
    metrics,
    versions,
)
from nasmeta.run.trials import Trials
from nasmeta.training.calibration import Calibration, Tasks, measured
from nasmeta.training.problem import Problem
from nasmeta.training.score import TASKS_AT_ONCE, Score, ci95, score
from nasmeta.training.weights import Weights
from nasmeta.trial import MetaTested, TrialResult

Meta = Score | MetaTested
"""A meta-test: on tasks, or looked up in a table."""


def test_once(trials: Trials, finals: Finals) -> Summary:
    """Tests the chosen network and the reference, writes best.pt and summary.json, and returns the summary.

    A run that has tested them returns what it stored. Raises RunFailed if the chosen network diverges.
    """
    recorder, directory = trials.recorder, trials.directory
    chosen = finals.chosen.network
    trained = trials.composition.trains_networks
    done = stored_summary(directory, trials.state.tested, trained=trained)
    if done is not None:
        return done
    recorder.start()
    best = _meta_test(trials, finals.chosen)
    if not has_result(best):
        raise RunFailed(
            f"the chosen network {chosen.arch} diverges on meta-test tasks: its loss is not finite; "
            "search again with a lower meta_learner.inner_lr or optimizer.lr"
        )
    reference, baseline = _tested_reference(trials, finals, best)
    numbers = tested_numbers(best)
    calibration, calibrated = _calibrated(trials, finals.chosen, best)
    if trained:
        weights = trials.weights.of(finals.chosen.phase, chosen.trial)
        save_network(
            trials.composition,
            directory.best,
            weights,
            chosen,
            tested={**numbers, "calibration": calibrated},
            calibration=calibration,
            inside=directory.path,
        )
    if isinstance(best, Score):
        beside = baseline if isinstance(baseline, Score) else None
        temperature = calibrated["temperature"] if calibrated else 1.0
        per_task.save(directory.per_task, best, beside, _episode(trials, finals.chosen, temperature))
    summary = _summary(trials, finals, (chosen, best), (reference, baseline), calibrated)
    checksum = summary.write(directory.summary)
    recorder.record(Tested(elapsed=recorder.elapsed, arch=chosen.arch, checksum=checksum, **numbers))
    return summary


def _tested_reference(trials: Trials, finals: Finals, best: Meta) -> tuple[TrialResult, Meta | None]:
    """The reference's full training and its meta-test; without the latter, the former says why.

    best: the meta-test of the chosen network, which may be the reference.
    """
    reference = finals.reference.network
    if finals.chosen is finals.reference:
        return reference, best
    if reference.status == "failed":
        return reference, None
    tested = _meta_test(trials, finals.reference)
    if has_result(tested):
        return reference, tested
    return replace(reference, reason="its loss on meta-test tasks is not finite"), None


def _summary(
    trials: Trials,
    finals: Finals,
    best: tuple[TrialResult, Meta],
    reference: tuple[TrialResult, Meta | None],
    calibrated: dict[str, Any] | None,
) -> Summary:
    """The summary of the run.

    best, reference: either network's full training and its meta-test. calibrated: how well the calibration of
    the best fits.
    """
    composition, state, evaluator = trials.composition, trials.state, trials.evaluators.for_search
    keys, trained, front = composition.config.keys, composition.trains_networks, state.front

    def side(result: TrialResult, tested: Meta | None) -> Side:
        batch_norm = keys.batch_norm if trained else None
        return Side(**metrics(result), **tested_numbers(tested), batch_norm=batch_norm)

    return Summary(
        format=FORMAT,
        command=_command(state.starts),
        seed=keys.seed,
        device=str(composition.device),
        execution=composition.execution.in_use(composition.device) if trained else {},
        bits=keys.constraints.bits,
        versions=versions(),
        kind=composition.task.kind,
        task=keys.task.model_dump() if trained else None,
        trained=trained,
        trials=len(state.searched),
        failed_trials=sum(result.status == "failed" for result in state.searched),
        settings_changed=settings_changed(state.starts),
        wall_seconds=trials.recorder.elapsed,
        simulated_seconds=state.simulated_seconds if evaluator.simulated_time else None,
        chosen=_chosen(finals, len(state.searched)),
        best=side(*best),
        reference=side(*reference),
        calibration=Calibrated(**calibrated) if calibrated else None,
        difference=None if finals.chosen is finals.reference else paired_difference(best[1], reference[1]),
        finalists=[_standing(f, f is finals.reference) for f in (finals.reference, *finals.candidates)],
        pareto=front.summary(checkpoints=evaluator.leaves_weights) if front is not None else None,
    )


def _chosen(finals: Finals, trials: int) -> Chosen:
    if finals.chosen is finals.reference:
        return "reference"
    return "searched" if trials else "given"


def _standing(finalist: Finalist, is_reference: bool) -> Standing:
    result, results = finalist.network, finalist.results

    def mean(name: str) -> float | None:
        values = [value for r in results if r.status == "ok" and (value := getattr(r, name)) is not None]
        return fmean(values) if values else None

    return Standing(
        arch=finalist.arch,
        is_reference=is_reference,
        iterations=result.iterations,
        networks=len(results),
        failed=sum(r.status == "failed" for r in results),
        valid_accuracy=mean("valid_accuracy"),
        valid_loss=mean("valid_loss"),
        params=result.params,
        reason=next((r.reason for r in results if r.status == "failed"), None),
    )


def _command(starts: Sequence[Started]) -> str:
    """The command that was typed, or in another program the one that makes the run.

    For `nasmeta search`, the program's name includes "search", for Hydra.
    """
    program = sys.argv[0]
    if program.startswith("nasmeta "):
        return f"{program} {shlex.join(sys.argv[1:])}"
    if Path(program).name in ("nasmeta", "__main__.py"):
        return f"nasmeta {shlex.join(sys.argv[1:])}"
    return str(command(starts) or "nasmeta search")


def has_result(tested: Meta) -> bool:
    """Whether a meta-test gave a finite number. A loss may have diverged on the new tasks."""
    return math.isfinite(tested.value if isinstance(tested, Score) else tested.accuracy)


def tested_numbers(tested: Meta | None) -> dict[str, Any]:
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


def paired_difference(best: Meta, reference: Meta | None) -> Difference | None:
    """Best minus reference over the same tasks; None for numbers from a table.

    The differences are paired by task, so the interval is narrower than that of either network.
    """
    if not (isinstance(best, Score) and isinstance(reference, Score)):
        return None
    paired = best.per_task - reference.per_task
    return Difference(mean=float(paired.mean()), ci95=ci95(paired))


def _meta_test(trials: Trials, finalist: Finalist) -> Meta:
    composition, result = trials.composition, finalist.network
    if not composition.trains_networks:
        return trials.evaluators.for_search.test(result.arch, result.iterations)
    problem, state = _restored(trials, finalist)
    sampler, tasks = composition.sampler("test"), composition.config.keys.budget.test_tasks
    return score(problem.learner, state, sampler, tasks, stop=trials.stop)


def _episode(trials: Trials, finalist: Finalist, temperature: float) -> dict[str, Tensor] | None:
    """The first test task with the network's answers; None if it was not trained on image files.

    temperature: divides the logits, as `nasmeta predict` does.
    """
    preprocessing = trials.composition.dataset.preprocessing
    if preprocessing is None:
        return None
    problem, state = _restored(trials, finalist)
    batch = trials.composition.sampler("test").batch(0, TASKS_AT_ONCE)
    logits = problem.learner.predict(state, *(part[:1] for part in batch[:3]))[0]
    return per_task.shown(batch, logits / temperature, preprocessing)


def _calibrated(
    trials: Trials, finalist: Finalist, tested: Meta
) -> tuple[Calibration | None, dict[str, Any] | None]:
    """A network's calibration, and how well it fits the meta-test tasks; None if there is none."""
    if not isinstance(tested, Score):
        return None, None
    problem, state = _restored(trials, finalist)
    calibration = problem.calibration(state, trials.stop)
    tasks = Tasks(problem.learner, state, trials.composition.sampler("test"), trials.stop)
    return calibration, measured(calibration, tasks, tested)


def _restored(trials: Trials, finalist: Finalist) -> tuple[Problem, MetaState]:
    result = finalist.network
    problem = trials.composition.problem.for_arch(trials.composition.space.parse(result.arch))
    return problem, problem.restored(Weights.read(trials.weights.of(finalist.phase, result.trial)))
