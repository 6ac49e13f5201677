"""The end of a run: the chosen network and the reference are tested once, on the same tasks."""

import math
import shlex
import sys
from dataclasses import replace
from typing import Any

from nasmeta.errors import RunFailed
from nasmeta.run.environment import settings_changed
from nasmeta.run.outputs import save_network, stored_summary
from nasmeta.run.records import Tested
from nasmeta.run.summary import FORMAT, Difference, Side, Summary, metrics, versions
from nasmeta.run.trials import Trials
from nasmeta.training.score import Score, ci95, score
from nasmeta.training.weights import Weights
from nasmeta.trial import MetaTested, Phase, TrialResult

Meta = Score | MetaTested
"""A meta-test: on tasks, or looked up in a table."""


def test_once(trials: Trials, chosen: TrialResult, reference: TrialResult) -> Summary:
    """Tests the chosen network and the reference, writes best.pt and summary.json, and returns the summary.

    A run that has tested them returns what it stored. Raises RunFailed if the chosen network diverges.
    """
    judges, recorder, directory = trials.judges, trials.recorder, trials.directory
    trained = judges.final.leaves_weights
    done = stored_summary(directory, trials.state.tested, trained=trained)
    if done is not None:
        return done
    recorder.start()
    best = _meta_test(trials, "final", chosen)
    if not has_result(best):
        raise RunFailed(
            f"the searched network {chosen.arch} diverges on meta-test tasks: its loss is not finite; "
            "search again with a lower meta_learner.inner_lr or optimizer.lr"
        )
    baseline = None
    if reference.status == "ok":
        same = chosen.arch == trials.weights.shared
        baseline = best if same else _meta_test(trials, "reference", reference)
    if baseline is not None and not has_result(baseline):
        baseline, reference = None, replace(reference, reason="its loss on meta-test tasks is not finite")
    numbers = tested_numbers(best)
    if trained:
        weights = trials.weights.of("final", chosen.trial)
        save_network(
            trials.composition, directory.best, weights, chosen, tested=numbers, inside=directory.path
        )
    summary = _summary(trials, (chosen, best), (reference, baseline), settings_changed(trials.state.starts))
    checksum = summary.write(directory.summary)
    recorder.record(Tested(elapsed=recorder.elapsed, arch=chosen.arch, checksum=checksum, **numbers))
    return summary


def _summary(
    trials: Trials,
    best: tuple[TrialResult, Meta],
    reference: tuple[TrialResult, Meta | None],
    changed: list[str],
) -> Summary:
    """The summary of the run. best, reference: either network's full training and its meta-test.

    changed: the settings that later starts of the run changed.
    """
    composition, state, evaluator = trials.composition, trials.state, trials.judges.search
    keys, trained, front = composition.config.keys, evaluator.trains_networks(), state.front

    def side(result: TrialResult, tested: Meta | None) -> Side:
        batch_norm = keys.batch_norm if trained else None
        return Side(**metrics(result), **tested_numbers(tested), batch_norm=batch_norm)

    return Summary(
        format=FORMAT,
        command=_command(),
        seed=keys.seed,
        device=str(composition.device),
        versions=versions(),
        kind=composition.task.kind,
        task=keys.task.model_dump() if trained else None,
        trained=trained,
        trials=len(state.searched),
        failed_trials=sum(result.status == "failed" for result in state.searched),
        settings_changed=changed,
        wall_seconds=trials.recorder.elapsed,
        simulated_seconds=state.simulated_seconds if evaluator.simulated_time else None,
        best=side(*best),
        reference=side(*reference),
        difference=paired_difference(best[1], reference[1]),
        pareto=front.summary(checkpoints=evaluator.leaves_weights) if front is not None else None,
    )


def _command() -> str:
    """The command that was typed. For `nasmeta search`, the program's name includes "search", for Hydra."""
    program = sys.argv[0] if sys.argv[0].startswith("nasmeta ") else "nasmeta"
    return f"{program} {shlex.join(sys.argv[1:])}"


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


def _meta_test(trials: Trials, phase: Phase, result: TrialResult) -> Meta:
    judges, composition = trials.judges, trials.composition
    if not judges.final.leaves_weights:
        return judges.final.test(result.arch, result.iterations)
    problem = judges.problem.for_arch(composition.space.parse(result.arch))
    state = problem.restored(Weights.read(trials.weights.of(phase, result.trial)))
    sampler, tasks = composition.sampler("test"), composition.config.keys.budget.test_tasks
    return score(problem.learner, state, sampler, tasks, stop=trials.stop)
