"""The control experiment of an architecture search, `nasmeta evaluate --control`: does the architecture help?

The checkpoint is compared with other networks on the same meta-test tasks. Each is meta-trained by the same
learner, for as many iterations, from the same seed. The others are a random architecture of the same space,
and the hand-designed 4-conv with the width that makes it equal in parameters. If the checkpoint's
architecture adapts to every task, the single architecture that it stands for (`for_all`) is compared too, and
the 4-conv is as large as that. Differences are paired by task.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nasmeta import seeding
from nasmeta.errors import RunFailed
from nasmeta.evaluators.scratch import Scratch
from nasmeta.meta_learners.base import MetaState
from nasmeta.meta_learners.task_architecture import TaskArchitecture
from nasmeta.networks.cost import measure_cost
from nasmeta.run.composition import Composition
from nasmeta.runtime import files
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.conv import ConvSpace
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE
from nasmeta.task import Split, TaskSpec
from nasmeta.trained.meta_test import MetaTest
from nasmeta.trained.trained_network import adopt_training_population
from nasmeta.training import checkpoint
from nasmeta.training.score import Score, Stop, ci95, score

WIDTHS = range(4, 129)
"""Channels of the 4-conv networks among which the one of equal size is chosen."""

LOOKED_AT = 20
"""Number of test tasks whose architectures are counted, at most."""


EXECUTION = ("device=", "precision=", "task_parallel=", "task_chunk=", "compile=", "cuda_graphs=")
"""Overrides that say how numbers are computed, but not which; they also apply to the trainings."""

TRAINING: tuple[Split, ...] = ("train", "valid")


@dataclass(frozen=True)
class Row:
    """The results of one network on the test tasks.

    accuracy: a fraction, None for regression. loss: per query. ci95: the half-width of the 95% interval of
    the accuracy, or of the loss for regression. difference: the checkpoint's accuracy (loss, for regression)
    minus this one's, as the mean over the same tasks, with difference_ci95 as its half-width.
    """

    name: str
    arch: str
    params: int
    accuracy: float | None
    ci95: float
    loss: float
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
    `control/` next to the checkpoint, and are resumed if they are found there. Overrides apply to the test
    only, except for those of EXECUTION.

    Returns `rows` (see Row), `tasks` (their number), and `architectures`: for an adaptive checkpoint, how
    many of the first test tasks took each architecture. Raises DataError if the training data is not at hand.
    """
    test = MetaTest.of(path, overrides, trusted=trusted)
    trained, composition, state = test.trained, test.composition, test.state
    own_config = trained.configured([o for o in overrides if o.lstrip("+").startswith(EXECUTION)])
    data = trained.own_data([composition.config, own_config], TRAINING)
    as_trained = Composition.of(own_config, data)
    folder = trained.path.parent / "control"
    files.make_folder(folder, inside=folder.parent)
    own = Rival(composition.space, composition.space.parse(trained.saved["arch"]))
    first = _test(composition, state, stop)
    rows = [_row("checkpoint", own, composition.task, first, first)]
    for name, rival in _rivals(as_trained, own, state).items():
        rival_state = _trained(as_trained, rival, folder / f"{name}.pt", stop)
        if composition.learner.lacks_population(rival_state):
            adopt_training_population(trained, composition.learner, rival_state, composition.config)
        rival_state = composition.learner.with_num_classes(rival_state, composition.task.outputs)
        rows.append(_row(name, rival, composition.task, _test(composition, rival_state, stop), first))
    counts = _architectures(composition, state)
    return {"rows": [asdict(row) for row in rows], "tasks": first.tasks, "architectures": counts}


def _rivals(composition: Composition, own: Rival, state: MetaState) -> dict[str, Rival]:
    space, rivals = composition.space, {}
    for_all = own.arch
    if own.arch == ADAPTIVE:
        relaxed: Any = state.network.module
        for_all = relaxed.derive(state.parameters)
        rivals["for_all"] = Rival(space, for_all)
    rng = seeding.stream(composition.config.keys.seed, "control")
    rivals["random"] = Rival(space, space.sample(rng))
    if len(composition.task.input_shape) == 3:
        params = measure_cost(space, for_all, composition.task).params
        rivals["four_conv"] = equal_four_conv(composition.task, params)
    return rivals


def equal_four_conv(task: TaskSpec, params: int) -> Rival:
    """The 4-conv network whose number of parameters is nearest to `params`."""

    def size(width: int) -> int:
        space = four_conv(width)
        return measure_cost(space, space.reference(), task).params

    above = bisect_left(WIDTHS, params, key=size)  # parameters grow with the width
    width = min(WIDTHS[max(above - 1, 0) : above + 1], key=lambda width: abs(size(width) - params))
    space = four_conv(width)
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


def _trained(composition: Composition, rival: Rival, weights: Path, stop: Stop) -> MetaState:
    """The rival's state after full training with the checkpoint's configuration."""
    problem = replace(composition.problem(), space=rival.space)
    iterations = composition.config.keys.budget.final_iterations
    result = Scratch(max_seconds=None, problem=problem).evaluate(
        str(rival.arch), iterations, 0, weights, report=lambda progress: None, stop=stop
    )
    if result.status == "failed":
        raise RunFailed(f"{weights}: the control {rival.arch} could not be trained: {result.reason}")
    state = problem.initial_state(rival.arch)
    saved = checkpoint.load_weights(weights)
    state.load(saved["training"]["parameters"], saved["statistics"])
    return state


def _test(composition: Composition, state: MetaState, stop: Stop) -> Score:
    tasks = composition.config.keys.budget.test_tasks
    return score(composition.learner, state, composition.sampler("test"), tasks, stop=stop)


def _row(name: str, rival: Rival, task: TaskSpec, tested: Score, first: Score) -> Row:
    paired = first.per_task - tested.per_task
    params = measure_cost(rival.space, rival.arch, task).params
    return Row(
        name,
        str(rival.arch),
        params,
        tested.accuracy,
        tested.ci95,
        tested.loss,
        float(paired.mean()),
        ci95(paired),
    )


def _architectures(composition: Composition, state: MetaState) -> dict[str, int]:
    """How many of the first test tasks took each architecture; empty if all tasks have the same."""
    learner = composition.learner
    if not isinstance(learner, TaskArchitecture) or not getattr(
        state.network.module, "architecture_names", ()
    ):
        return {}
    batch = composition.sampler("test").batch(0, min(LOOKED_AT, composition.config.keys.budget.test_tasks))
    tasks = zip(batch.support_x, batch.support_y, strict=True)
    counts = Counter(str(learner.task_network(state, *task).arch) for task in tasks)
    return dict(counts.most_common())
