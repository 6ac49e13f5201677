"""Every two of search space, meta-learner and evaluator, and every strategy on a table: unlisted.

A combination works, or is refused with a reason before anything is trained. tests/test_compatible.py has
every strategy with every evaluator.
"""

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.datasets.base import EpisodeSampler
from nasmeta.errors import ConfigError
from nasmeta.run.composition import Composition
from nasmeta.testing.evaluators import judged
from nasmeta.training.problem import Problem
from tests.evaluators.tables import write_few_shot
from tests.option_names import names

IMAGES = [
    "dataset.train_classes=10",
    "dataset.valid_classes=6",
    "dataset.test_classes=6",
    "dataset.size=16",
    "task.way=3",
    "task.shot=2",
    "task.query=2",
    "task.meta_batch=2",
]
SHORT = [
    "batch_norm=transductive",
    "optimizer.schedule=constant",
    "budget.search_iterations=1",
    "budget.final_iterations=1",
    "budget.valid_tasks=2",
    "budget.final_tasks=2",
    "budget.test_tasks=2",
]
NARROW = {
    "conv": [
        *("search_space.widths=[8,16]", "search_space.max_blocks=3", "search_space.max_downsamples=3"),
        *("search_space.ops=[conv3,sep3]", "search_space.activations=[relu]"),
    ],
    "nasbench201": ["search_space.width=4", "search_space.stages=2"],
    "darts": ["search_space.width=4", "search_space.nodes=2", "search_space.layers=3"],
}
"""Settings of spaces whose defaults are too large for a moment."""

STEPS = {
    "reptile": ["meta_learner.test_steps=2"],
    "finetune": ["meta_learner.test_steps=2"],
}
WEIGHTS = {"differentiable", "meta_differentiable"}
"""Strategies that learn an architecture together with a network's weights."""

TRAINED = [name for name in names("evaluator") if name != "tabular"]


@cache
def composition(space: str, learner: str, evaluator: str) -> Composition:
    options = [f"search_space={space}", f"meta_learner={learner}", f"evaluator={evaluator}"]
    rest = [*SHORT, *NARROW.get(space, []), *STEPS.get(learner, [])]
    return Composition.of(parse(composed([*options, *IMAGES, *rest]), trusted=False))


@cache
def samplers(learner: str) -> tuple[EpisodeSampler, EpisodeSampler]:
    """Training and validation tasks, drawn once for all spaces."""
    problem = composition("conv", learner, "scratch").problem
    return problem.train, problem.valid


DEFAULT = ("conv", "protonet", "scratch")
PAIRS = [
    combination
    for combination in product(names("search_space"), names("meta_learner"), TRAINED)
    if any(value == default for value, default in zip(combination, DEFAULT, strict=True))
]
"""Every two options of different groups together, with the default of the third group."""


@pytest.mark.parametrize("space, learner, evaluator", PAIRS)
def test_space_learner_and_evaluator_compose(
    space: str, learner: str, evaluator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = composition(space, learner, evaluator)
    problem = whole.problem
    train, valid = samplers(learner)
    monkeypatch.setattr(Problem, "train", property(lambda _: train))
    monkeypatch.setattr(Problem, "valid", property(lambda _: valid))
    arch = str(whole.space.initial())
    judge = whole.evaluator(problem)
    result = judged(judge, arch, 1, tmp_path / "weights.pt")
    assert result.status == "ok", result.reason
    assert result.score is not None
    assert result.params


QUIET = ["progress=false", "logger=none", "budget.final_candidates=1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    space = composition("conv_small", "protonet", "scratch").space
    write_few_shot(path, _all(space), iterations=(1, 2, 3))
    return path


@pytest.mark.parametrize("strategy", [name for name in names("strategy") if name not in WEIGHTS])
def test_every_strategy_reads_a_toy_table(strategy: str, table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [
        f"strategy={strategy}",
        "search_space=conv_small",
        "evaluator=tabular",
        f"evaluator.table={table}",
        *QUIET,
        "budget.trials=6",
        "budget.search_iterations=3",
        "budget.final_iterations=3",
        f"hydra.run.dir={run}",
    ]
    assert main(["search", *options]) == 0


def _all(space: Any) -> list[str]:
    """Every architecture, by edits."""
    found, front = {space.initial()}, [space.initial()]
    while front:
        front = [n for arch in front for n in space.neighbors(arch) if n not in found and not found.add(n)]
    return [str(arch) for arch in found]


def test_a_wrong_combination_is_refused_with_a_reason() -> None:
    table = ["evaluator=tabular", "evaluator.table=nowhere.csv"]
    for overrides, reason in [
        (["dataset=sinusoid", "meta_learner=protonet"], "meta_learner"),
        (["strategy=reinforce", *table], "nowhere.csv"),
        (["strategy=differentiable"], "search_space: .*search_space=nasbench201"),
        (["strategy=hyperband", "evaluator=supernet"], "hyperband .* supernet"),
        (["strategy=meta_differentiable", "search_space=darts"], "meta_learner=maml"),
        (["strategy=recursive", "strategy@strategy.inner=astar"], "strategy.inner"),
        (["optimizer=sgd", "optimizer.nesterov=true", "optimizer.momentum=0"], "optimizer.nesterov"),
        (["augment=handwriting", "augment.quarter_turns=true", "meta_learner=finetune"], "quarter_turns"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            Composition.of(parse(composed(overrides), trusted=False))


@pytest.mark.parametrize(
    "overrides,reason",
    [
        ("evaluator=supernet", "supernet"),
        (
            "evaluator=tabular evaluator.table=fewshot_conv evaluator.learner=protonet "
            "evaluator.dataset=strokes budget.search_iterations=100 budget.final_iterations=300",
            "tabular",
        ),
        ("strategy=differentiable", "differentiable"),
        ("strategy=meta_differentiable meta_learner=maml", "meta_differentiable"),
    ],
)
def test_what_needs_one_process_is_refused_others(overrides: str, reason: str) -> None:
    space = "conv_small" if "tabular" in overrides else "nasbench201"
    run = [*overrides.split(), f"search_space={space}"]
    Composition.of(parse(composed(run), trusted=False))
    with pytest.raises(ConfigError, match=f"executor: .* {reason}.*; use executor=serial"):
        Composition.of(parse(composed([*run, "executor=process"]), trusted=False))
    with pytest.raises(ConfigError, match=r"executor\.workers: got 0"):
        parse(composed([*run, "executor=process", "executor.workers=0"]), trusted=False)
