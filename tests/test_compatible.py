"""Every strategy with every evaluator and every executor, unlisted: it runs for a moment, or is refused."""

import json
from collections import deque
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from nasmeta.config.overrides import composed
from nasmeta.config.schema import Config, parse, resolve
from nasmeta.errors import ConfigError
from nasmeta.executors.base import Executor
from nasmeta.run.composition import Composition
from nasmeta.run.constraints import check_feasible
from nasmeta.run.directory import RunDirectory
from nasmeta.run.journal import Journal
from nasmeta.run.recorder import Recorder
from nasmeta.run.search import search
from nasmeta.trial import Job, TrialResult
from tests.option_names import names

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
GROUPS = ("strategy", "evaluator", "executor")
TINY = [
    *("search_space=nasbench201", "search_space.width=4", "search_space.stages=1"),
    *("meta_learner=fomaml", "meta_learner.train_steps=1", "meta_learner.test_steps=1"),
    *("dataset.size=8", "dataset.train_classes=4", "dataset.valid_classes=3", "dataset.test_classes=3"),
    *("task.way=2", "task.query=1", "task.meta_batch=1", "task_parallel=loop", "device=cpu"),
    *(
        "budget.trials=3",
        "budget.search_iterations=3",
        "budget.valid_tasks=2",
        "budget.final_tasks=2",
        "budget.test_tasks=2",
    ),
    *("budget.final_iterations=3", "budget.final_candidates=1", "logger=none", "progress=false"),
]
OPTIONS = {
    "differentiable": ["strategy.epoch_iterations=1"],
    "zero_cost": ["evaluator.batches=1"],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the benchmark's cells, with all that its columns can hold."""
    path = tmp_path_factory.mktemp("table") / "cells.csv"
    first, rest = product(OPERATIONS[1:4:2], repeat=3), list(product(OPERATIONS, repeat=3))
    cells = ("|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops, *more) for ops in first for more in rest)
    rows = [f"{cell},{50 + len(cell) / 10},90,1,{len(cell)},{len(cell)}" for cell in cells]
    header = "arch,valid_acc_12,test_acc_200,seconds,params,flops"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@cache
def whole(table: Path, *options: str) -> Config:
    columns = [f"evaluator.table={table}"] if "evaluator=tabular" in options else []
    return parse(composed([*TINY, *options, *columns]), trusted=True)


def config_of(strategy: str, evaluator: str, executor: str, table: Path) -> Config:
    """Each option composed once, put together by hand: composing takes longer than the run."""
    choice = {"strategy": strategy, "evaluator": evaluator, "executor": executor}
    parts = {g: whole(table, f"{g}={name}", *OPTIONS.get(name, [])).groups[g] for g, name in choice.items()}
    base = whole(table)
    return Config(base.keys, {**base.groups, **parts})


class Beside(Executor):
    """As executors of other processes are, but here: two in flight, judged from the plain configuration."""

    separate = True
    capacity = 2

    def __init__(self, *, rebuild: Any) -> None:
        self._judge = rebuild()
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def collect(self) -> tuple[Job, TrialResult]:
        job = self._waiting.popleft()
        return job, self._judge(job, lambda progress: None, lambda: False)


def run(composition: Composition, path: Path) -> dict[str, Any]:
    """A whole search in `path`, which is made for it."""
    check_feasible(composition)
    path.mkdir()
    directory = RunDirectory(path)
    with Journal(directory.journal) as journal:
        return search(composition, Recorder(composition, directory, journal), lambda: False)


@pytest.mark.parametrize("evaluator", names("evaluator"))
@pytest.mark.parametrize("strategy", names("strategy"))
def test_it_runs_for_a_moment_or_is_refused_with_a_reason(
    strategy: str, evaluator: str, table: Path, tmp_path: Path
) -> None:
    for executor in names("executor"):
        config = config_of(strategy, evaluator, executor, table)
        cls: type[Executor] = resolve("executor", config.groups["executor"]["_target_"], trusted=True)
        composition, refused = None, ""
        try:
            composition = Composition.of(config)
        except ConfigError as error:
            refused = str(error)
        if refused and "pip install" not in refused:
            key, _, instead = refused.partition(": ")
            assert key.partition(".")[0] in (*GROUPS, "constraints", "budget"), refused
            assert "; use " in instead, refused
            assert executor != "serial" or (strategy, evaluator) in REFUSED, refused
            continue
        if cls.separate:
            double = {"_target_": f"{__name__}.Beside"}
            composition = Composition.of(Config(config.keys, {**config.groups, "executor": double}))
        assert composition is not None
        path = tmp_path / executor
        summary = run(composition, path)
        assert summary["best"]["arch"]
        assert summary["failed_trials"] == 0
        events = [json.loads(line)["event"] for line in (path / "journal.jsonl").read_text().splitlines()]
        assert events.count("asked") == summary["trials"] > 0
        if cls.separate:
            break  # one executor of other processes is like the other here


REFUSED = {
    ("model_hyperband", "supernet"), ("model_hyperband", "zero_cost"),
    ("hyperband", "supernet"), ("hyperband", "zero_cost"), ("astar", "zero_cost"), ("iddfs", "zero_cost"),
    ("differentiable", "tabular"), ("meta_differentiable", "tabular"), ("meta_differentiable", "supernet"),
    ("meta_differentiable", "zero_cost"),
}  # fmt: skip
"""What shipped options do not do in one process. All else runs; a new option's pairs should, too."""


@pytest.mark.parametrize(
    "options,reason",
    [
        ("strategy=astar evaluator=zero_cost", r"strategy\.goal: .*astar.*; use evaluator\.proxy=vote"),
        ("strategy=hyperband evaluator=zero_cost", "strategy: hyperband .*zero_cost"),
        (
            "strategy=meta_differentiable evaluator=supernet",
            "evaluator: .*meta_differentiable.*; use evaluator=scratch",
        ),
        ("strategy=differentiable evaluator=tabular", "evaluator: .*differentiable"),
        ("strategy=differentiable compile=true", "compile: .*differentiable"),
    ],
)
def test_what_is_refused_says_why(options: str, reason: str, table: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        Composition.of(whole(table, *options.split()))


def test_a_single_candidate_is_trained_in_one_round(table: Path) -> None:
    """Rounds in which nothing is left to halve are none. Four candidates would have needed them."""
    rounds = "budget.final_rounds=3 budget.final_iterations=2"
    Composition.of(whole(table, *rounds.split(), "budget.final_candidates=1"))
    with pytest.raises(ConfigError, match=r"budget\.final_rounds: .* too few iterations"):
        Composition.of(whole(table, *rounds.split(), "budget.final_candidates=4"))


@pytest.mark.parametrize(
    "header,options,reason",
    [
        ("", "strategy=nsga2", r"strategy\.objectives: .*tabular .*params"),
        ("", "constraints.max_flops=10", r"constraints\.max_flops: .*tabular .*flops"),
        (",params,flops", "constraints.max_latency_ms=1", r"constraints\.max_latency_ms: .*latency"),
    ],
)
def test_a_table_without_costs_serves_no_limit_and_no_objective(
    header: str, options: str, reason: str, tmp_path: Path
) -> None:
    cell = "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|".format("skip_connect")
    rest = ",1,1" if header else ""
    (tmp_path / "t.csv").write_text(f"arch,valid_acc_12,test_acc_200{header}\n{cell},80,90{rest}\n")
    with pytest.raises(ConfigError, match=reason):
        Composition.of(whole(tmp_path / "t.csv", "evaluator=tabular", *options.split()))


def test_a_goal_may_be_a_share_of_the_vote(table: Path, tmp_path: Path) -> None:
    options = ["strategy=astar", "evaluator=zero_cost", "evaluator.proxy=vote", "evaluator.batches=1"]
    config = whole(table, *options, "evaluator.reference=2", "strategy.goal=1.1")
    summary = run(Composition.of(config), tmp_path / "run")
    assert summary["trials"] == 3
