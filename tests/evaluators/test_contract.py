"""Every option of conf/evaluator, unlisted, and every proxy, on small convolutional networks."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.evaluators.zero_cost.proxies import PROXIES, Name
from nasmeta.run.composition import Composition
from nasmeta.testing import evaluators as contract
from nasmeta.training.problem import Problem
from tests.evaluators.tables import write_few_shot
from tests.option_names import names

ARCH = "conv3-8.bn.relu.max_conv3-8.bn.relu.max_gap"
UNBUILDABLE = "_".join(["conv3-8.bn.relu.max"] * 6 + ["gap"])
"""Six halvings of 16x16."""

ITERATIONS = 3
BASE = [
    "dataset.train_classes=20",
    "dataset.valid_classes=10",
    "dataset.test_classes=10",
    "dataset.size=16",
    "task.query=3",
    "task.meta_batch=2",
    "budget.search_iterations=3",
    "budget.final_iterations=3",
    "budget.valid_tasks=21",
    "search_space.widths=[8]",
    "search_space.ops=[conv1,conv3]",
    "search_space.norms=[bn]",
    "search_space.activations=[relu]",
    "search_space.downsamples=[max]",
    "budget.final_tasks=21",
    "search_space.max_downsamples=6",
    "search_space.max_blocks=6",
    "save_seconds=0",
]
NEEDS = {"tabular": ["evaluator.table={folder}/table.csv"]}
OPTIONS = [
    *((name,) for name in names("evaluator")),
    *(("zero_cost", f"evaluator.proxy={name}", "evaluator.reference=2") for name in (*PROXIES, "vote")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_few_shot(folder / "table.csv", [ARCH, ARCH.replace("gap", "flatten")])
    return folder


@cache
def composition(folder: Path, option: tuple[str, ...]) -> Composition:
    name, *overrides = option
    needs = [text.format(folder=folder) for text in NEEDS.get(name, [])]
    config = parse(composed([*BASE, f"evaluator={name}", *overrides, *needs]), trusted=False)
    return Composition.of(config)


@cache
def problem(folder: Path) -> Problem:
    return composition(folder, ("scratch",)).problem


@pytest.fixture(params=OPTIONS, ids=" ".join)
def whole(request: pytest.FixtureRequest, folder: Path) -> Composition:
    return composition(folder, request.param)


@pytest.fixture
def make(whole: Composition, folder: Path) -> contract.Make:
    return lambda: whole.evaluator(problem(folder))


@pytest.mark.parametrize(
    "check", [contract.check_result, contract.check_idempotent, contract.check_stop, contract.check_weights]
)
def test_it_keeps_the_contract(check: Any, make: contract.Make, tmp_path: Path) -> None:
    check(make, ARCH, ITERATIONS, tmp_path)


def test_what_cannot_be_built_is_a_failed_result(make: contract.Make, tmp_path: Path) -> None:
    contract.check_failure(make, UNBUILDABLE, ITERATIONS, tmp_path)


def test_it_sees_no_test_tasks(whole: Composition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    kind = type(whole.dataset)
    sampler = kind.sampler

    def spy(self: Any, split: Any, **task: Any) -> Any:
        asked.append(split)
        return sampler(self, split, **task)

    monkeypatch.setattr(kind, "sampler", spy)
    evaluator = whole.evaluator(replace(whole.problem))  # other tests have loaded the data of that one
    assert not asked, "constructing one loads no data"
    result = contract.judged(evaluator, ARCH, ITERATIONS, tmp_path / "w.pt")
    assert "test" not in asked
    assert bool(asked) == evaluator.trains_networks() or result.proxy is not None
    if not evaluator.trains_networks():
        assert evaluator.test(ARCH, ITERATIONS).accuracy not in vars(result).values()


def test_costs_are_those_of_the_results(whole: Composition, make: contract.Make, tmp_path: Path) -> None:
    evaluator = make()
    result = contract.judged(evaluator, ARCH, ITERATIONS, tmp_path / "w.pt")
    cost = evaluator.cost(whole.space.parse(ARCH))
    assert cost is not None
    assert (result.params, result.flops) == (cost.params, cost.flops)


def test_every_proxy_can_be_named() -> None:
    assert set(get_args(Name)) == set(PROXIES)
