"""The control experiment of an architecture search, `nasmeta evaluate --control`: does the architecture help?

The checkpoint is compared with other networks on the same meta-test tasks. Each is meta-trained by the same
learner, for as many iterations. Of an architecture as many networks are trained as each finalist of the run
had in its last round (budget.final_seeds), from the same seeds, and the best by validation is compared; of a
checkpoint that is no finalist's, one is. The others are a random architecture of the same space,
drawn as the search draws, and the hand-designed 4-conv with the width that makes it equal in parameters. Both
meet the limits on parameters and FLOPs that the search had to meet. If the checkpoint's
architecture adapts to every task, the single architecture that it stands for (`for_all`) is compared too, and
the 4-conv is as large as that. Differences are paired by task.
"""

import hashlib
import json
import math
from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nasmeta import seeding
from nasmeta.config.keys import EXECUTION, BudgetConfig, ConstraintsConfig
from nasmeta.config.schema import Config
from nasmeta.datasets import contents
from nasmeta.errors import RunFailed
from nasmeta.evaluators.scratch import Scratch
from nasmeta.meta_learners.state import MetaState
from nasmeta.meta_learners.task_architecture import TaskArchitecture, architecture_names
from nasmeta.networks.cost import measure_cost
from nasmeta.run.ranking import best_of
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import key_of
from nasmeta.runtime.device import pick
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.conv import ConvSpace
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE
from nasmeta.task import Split, TaskSpec
from nasmeta.trained.checkpoint import adopt_training_population, configured, own_data
from nasmeta.trained.meta_test import MetaTest
from nasmeta.training.best_iterate import KeepBest
from nasmeta.training.problem import Problem
from nasmeta.training.score import Score, Stop, ci95
from nasmeta.training.trained_network import TrainedNetwork
from nasmeta.training.weights import Weights
from nasmeta.trial import Cost, Job, Limits

WIDTHS = range(4, 129)
"""Channels of the 4-conv networks among which the one of equal size is chosen."""

LOOKED_AT = 20
"""Number of test tasks whose architectures are counted, at most."""

ALSO_TRAINED_WITH = ("device", "precision", *EXECUTION)
"""Keys whose overrides apply to the trainings, besides the test."""

DECISIVE = (
    *("seed", "task", "batch_norm", "augment", "meta_learner", "optimizer", "search_space", "constraints"),
    "budget",
)
"""The parts of a configuration that decide how the networks are trained, besides the data."""

TRAINING: tuple[Split, ...] = ("train", "valid")


@dataclass(frozen=True)
class Row:
    """The results of one network on the test tasks.

    accuracy: a fraction, None for regression. loss: per query, None if it is not finite. ci95: the
    half-width of the 95% interval of the accuracy, or of the loss for regression. difference: the
    checkpoint's accuracy (loss, for regression) minus this one's, as the mean over the same tasks, with
    difference_ci95 as its half-width.
    """

    name: str
    arch: str
    params: int
    accuracy: float | None
    ci95: float
    loss: float | None
    difference: float
    difference_ci95: float


@dataclass(frozen=True)
class Rival:
    """An architecture that the checkpoint is compared with, and its search space."""

    space: SearchSpace[Any]
    arch: Any


def control(path: Path, overrides: list[str], *, trusted: bool, stop: Stop) -> dict[str, Any]:
    """Trains the networks that the checkpoint is compared with, and tests all on its meta-test tasks.

    The networks are trained like the checkpoint, on its data and by its configuration. Trainings are kept in
    `control/` next to the checkpoint, and are resumed if they are found there, under a name that has a digest
    of both. Overrides apply to the test only, except for those of ALSO_TRAINED_WITH.

    Returns `rows` (see Row), `tasks` (their number), and `architectures`: for an adaptive checkpoint, how
    many of the first test tasks took each architecture. Raises DataError if the training data is not at hand.
    """
    test = MetaTest.of(path, overrides, trusted=trusted)
    stored, state = test.stored, test.state
    own_config = configured(stored, [o for o in overrides if key_of(o) in ALSO_TRAINED_WITH])
    as_trained = stored.changed(own_config)
    keys = own_config.keys
    problem = Problem.of(
        own_config,
        space=as_trained.space,
        learner=as_trained.learner,
        task=stored.task,
        dataset=own_data(stored, [test.config, own_config], TRAINING),
        device=pick(keys.device, keys.precision),
    )
    folder = stored.path.parent / "control"
    files.make_folder(folder, inside=folder.parent)
    own = Rival(problem.space, problem.space.parse(stored.arch))
    first = test.score(state, stop)
    rows = [_row("checkpoint", own, state.task, first, first)]
    for name, rival in rivals_of(own, state, keys.constraints, problem.seed).items():
        weights = folder / f"{name}-{_mark(stored, own_config, rival)}.pt"
        rival_state = _trained(problem, rival, stored, keys.budget, weights, stop)
        adopt_training_population(stored, test.learner, rival_state, test.config)
        rival_state = test.learner.with_num_classes(rival_state, state.task.outputs)
        rows.append(_row(name, rival, state.task, test.score(rival_state, stop), first))
    counts = _architectures(test)
    return {"rows": [asdict(row) for row in rows], "tasks": first.tasks, "architectures": counts}


def _mark(stored: TrainedNetwork, config: Config, rival: Rival) -> str:
    """A digest of what decides a training: settings, data, architecture, and how long it is."""
    values = config.to_dict()
    data = contents.plain({split: stored.data[split] for split in TRAINING})
    network = [str(rival.arch), stored.iterations, stored.provisional]
    text = json.dumps([{key: values[key] for key in DECISIVE}, data, network], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def rivals_of(own: Rival, state: MetaState, limits: ConstraintsConfig, seed: int) -> dict[str, Rival]:
    """The networks that the checkpoint's own is compared with, by name, within the limits of its run."""
    space, rivals = own.space.with_draws_for(state.task, limits.limits), {}
    for_all = own.arch
    if own.arch == ADAPTIVE:
        relaxed: Any = state.network.module
        for_all = relaxed.derive(state.parameters)
        rivals["for_all"] = Rival(space, for_all)
    rivals["random"] = Rival(space, space.sample(seeding.stream(seed, "control")))
    if len(state.task.input_shape) == 3:
        params = measure_cost(space, for_all, state.task).params
        rivals["four_conv"] = equal_four_conv(state.task, params, limits.limits)
    return rivals


def equal_four_conv(task: TaskSpec, params: int, limits: Limits) -> Rival:
    """The 4-conv network whose number of parameters is nearest to `params`, of those within the limits.

    If none is, it is the narrowest.
    """

    def cost(width: int) -> Cost:
        space = four_conv(width)
        return measure_cost(space, space.reference(), task, limits.bits)

    above = bisect_left(WIDTHS, params, key=lambda width: cost(width).params)  # costs grow with the width
    nearest = min(WIDTHS[max(above - 1, 0) : above + 1], key=lambda width: abs(cost(width).params - params))
    within = WIDTHS[: bisect_left(WIDTHS, True, key=lambda width: not limits.allow(cost(width)))]
    space = four_conv(min([nearest, *within[-1:]]) if within else WIDTHS[0])
    return Rival(space, space.reference())


def four_conv(width: int) -> ConvSpace:
    """The space whose reference is the 4-conv network with `width` channels."""
    return ConvSpace(
        min_blocks=4,
        max_blocks=4,
        min_downsamples=4,
        max_downsamples=4,
        widths=[width],
        ops=["conv3"],
        norms=["bn"],
        activations=["relu"],
        downsamples=["max"],
        heads=["flatten"],
        skip=False,
        squeeze_excite=False,
    )


def _trained(
    problem: Problem, rival: Rival, stored: TrainedNetwork, budget: BudgetConfig, weights: Path, stop: Stop
) -> MetaState:
    """The state of the rival's best network by validation, trained as the checkpoint was.

    weights: the file of the first network; those of the others have a number before the suffix. Raises
    RunFailed if no network can be trained.
    """
    problem = replace(problem, space=rival.space)
    keep = None if stored.provisional else KeepBest.of(budget)
    numbers = range(1 if stored.provisional else budget.final_seeds)
    files_of = [weights.with_suffix(f".{number}.pt") if number else weights for number in numbers]
    results = []
    for number, path in enumerate(files_of):
        own = problem if stored.provisional else problem.in_full(budget, number)
        scratch = Scratch(max_seconds=None, criterion="accuracy", problem=own, keep=keep)
        arch, iterations = str(rival.arch), stored.iterations
        job = Job(phase="final", trial=number, arch=arch, iterations=iterations, weights=path)
        results.append(scratch.evaluate(job, lambda progress: None, stop))
    best = best_of(results)
    if best is None:
        reason = results[0].reason
        raise RunFailed(f"{weights}: the control {rival.arch} could not be trained: {reason}")
    return problem.restored(Weights.read(files_of[best.trial]))


def _row(name: str, rival: Rival, task: TaskSpec, tested: Score, first: Score) -> Row:
    paired = first.per_task - tested.per_task
    return Row(
        name=name,
        arch=str(rival.arch),
        params=measure_cost(rival.space, rival.arch, task).params,
        accuracy=tested.accuracy,
        ci95=tested.ci95,
        loss=tested.loss if math.isfinite(tested.loss) else None,
        difference=float(paired.mean()),
        difference_ci95=ci95(paired),
    )


def _architectures(test: MetaTest) -> dict[str, int]:
    """How many of the first test tasks took each architecture; empty if all tasks have the same."""
    learner, state = test.learner, test.state
    if not isinstance(learner, TaskArchitecture) or not architecture_names(state):
        return {}
    batch = test.sampler().batch(0, min(LOOKED_AT, test.config.keys.budget.test_tasks))
    tasks = zip(batch.support_x, batch.support_y, strict=True)
    counts = Counter(str(learner.task_network(state, *task)[0]) for task in tasks)
    return dict(counts.most_common())
