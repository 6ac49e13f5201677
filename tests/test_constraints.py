"""What a search may propose, and what is said if that is nothing."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError
from nasmeta.run.composition import Composition
from nasmeta.run.constraints import Constraints, check_feasible
from nasmeta.run.state import RunState
from nasmeta.search_spaces.mlp.space import MlpSpace
from nasmeta.seeding import stream
from nasmeta.strategies import base
from tests.cli.runs import TINY, search
from tests.evaluators.tables import write_benchmark
from tests.evaluators.test_tabular import CELLS

MLP = ["search_space=mlp", "dataset=sinusoid", "meta_learner=fomaml"]
SMALL = [*MLP, "search_space.max_layers=1", "search_space.norms=[none]", "search_space.skip=false"]


def composition(*overrides: str) -> Composition:
    return Composition.of(parse(composed(["device=cpu", *overrides]), trusted=False))


def constraints(whole: Composition) -> Constraints:
    state = RunState()
    return Constraints(whole, whole.evaluator(whole.problem), state, state.apply)


def test_limits_are_kept_and_the_least_of_what_is_beyond_is_named() -> None:
    whole = composition(*MLP)
    archs = [whole.space.sample(stream(0, "test", i)) for i in range(30)]
    params = sorted(constraints(whole).cost(arch).params for arch in archs)
    limit = params[10]
    limited = constraints(composition(*MLP, f"constraints.max_params={limit}"))
    feasible = [limited.feasible(arch) for arch in archs]
    assert feasible == [limited.cost(arch).params <= limit for arch in archs]
    beyond = [value for value in params if value > limit]
    assert f"{len(beyond)} are beyond constraints.max_params={limit}" in limited.reasons()
    assert f"the least is {beyond[0]}" in limited.reasons()


def test_a_network_is_measured_once_whatever_it_is_trained_by(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([3.0, 1.0])
    monkeypatch.setattr("nasmeta.run.constraints.measure_latency", lambda *_: next(drawn))
    tune = "tune={optimizer.lr: [0.1, 0.2]}"
    limited = constraints(composition(*MLP, tune, "constraints.max_latency_ms=2"))
    reference = limited._composition.space.reference()
    both = [reference.having("optimizer.lr", rate) for rate in (0.1, 0.2)]
    assert [limited.latency(arch) for arch in both] == [3.0, 3.0]
    assert not any(limited.feasible(arch) for arch in both)


def test_costs_are_relative_to_the_reference_that_meets_the_limits() -> None:
    nsga2 = [*MLP, "strategy=nsga2", "strategy.objectives=[params]"]
    free = constraints(composition(*nsga2))
    limit = int(free.costs_of_reference()["params"]) // 2
    limited = constraints(composition(*nsga2, f"constraints.max_params={limit}"))
    assert limited.costs_of_reference() == {"params": limited.cost(limited.reference).params}
    assert 0 < limited.costs_of_reference()["params"] <= limit


def test_the_reference_is_narrower_than_any_candidate_if_it_must() -> None:
    small = constraints(composition("search_space=conv", "constraints.max_params=100"))
    assert str(small.reference).startswith("conv3-1.bn")
    assert small.reference_fits


def test_a_reference_beyond_the_limits_is_never_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MlpSpace, "reference_within", lambda self, fits: self.reference())
    assert search(tmp_path / "run", "constraints.max_params=1000", "seed=3") == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "the reference is beyond the limits" in capsys.readouterr().err
    assert summary["chosen"] != "reference"
    assert summary["best"]["params"] <= 1000 < summary["reference"]["params"]


def test_memory_is_limited_in_kib_at_the_given_bits() -> None:
    quarter = constraints(composition("constraints.max_memory_kib=61.25", "constraints.bits=8"))
    four_conv = quarter.reference
    assert four_conv.widths == [64] * 4
    assert quarter.feasible(four_conv)
    floats = constraints(composition("constraints.max_memory_kib=61.25"))
    assert floats.reference.widths == [16] * 4
    assert not floats.feasible(four_conv)
    assert f"constraints.max_memory_kib=61.25, the least is 245 ({four_conv})" in floats.reasons()


def test_memory_and_flash_are_objectives() -> None:
    whole = composition("strategy=nsga2", "strategy.objectives=[memory,flash]", "constraints.bits=8")
    assert constraints(whole).costs_of_reference() == {"memory": 62_720, "flash": 112_532}


def test_what_no_draw_meets_is_refused_before_a_network_for_all_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "FEASIBLE_DRAWS", 3)
    check_feasible(composition("experiment=darts_quick", "constraints.max_memory_kib=1000"))
    with pytest.raises(ConfigError, match=r"constraints\.max_memory_kib=1, the least is \d+"):
        check_feasible(composition("experiment=darts_quick", "constraints.max_memory_kib=1"))


@pytest.mark.parametrize(
    "overrides,named",
    [
        ("constraints.max_memory_kib=0.01", r"constraints\.max_memory_kib=0\.01, the least is [\d.]+ \(fc"),
        ("constraints.max_flash_kib=0.1", r"constraints\.max_flash_kib=0\.1, the least is \d+"),
        ("constraints.max_params=1", r"constraints\.max_params=1, the least is \d+"),
        ("constraints.max_flops=2 strategy=random", r"constraints\.max_flops=2, the least is \d+"),
        (
            "constraints.max_params=1 strategy=astar evaluator=zero_cost evaluator.proxy=vote",
            r"constraints\.max_params=1",
        ),
        ("constraints.max_params=1 strategy=reinforce evaluator=supernet", r"constraints\.max_params=1"),
    ],
)
def test_a_search_that_can_propose_nothing_is_refused_before_it_has_a_directory(
    overrides: str,
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "FEASIBLE_DRAWS", 50)  # the other 950 are as little feasible
    run = tmp_path / "run"
    options = [*SMALL, *overrides.split()]
    assert main(["search", *options, f"hydra.run.dir={run}"]) == 2
    assert not run.exists()
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert re.search(named, line)


@pytest.mark.parametrize("strategy", ["evolution", "local_search"])
def test_a_run_says_why_no_latency_is_low_enough(
    strategy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "FEASIBLE_DRAWS", 5)
    monkeypatch.setattr("nasmeta.run.constraints.measure_latency", lambda *_: 3.0)
    limits = [f"strategy={strategy}", "constraints.max_latency_ms=1", f"hydra.run.dir={tmp_path / 'run'}"]
    assert main(["search", *SMALL, *limits]) == 1
    assert "constraints.max_latency_ms=1, the least is 3" in capsys.readouterr().err


def test_a_run_warns_early_if_no_latency_is_low_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasmeta.run.constraints.TOO_SLOW", 2)
    monkeypatch.setattr(base, "FEASIBLE_DRAWS", 8)
    monkeypatch.setattr("nasmeta.run.constraints.measure_latency", lambda *_: 3.0)
    limits = ["strategy=random", "constraints.max_latency_ms=1", f"hydra.run.dir={tmp_path / 'run'}"]
    assert main(["search", *SMALL, *limits]) == 1
    warnings = [line for line in capsys.readouterr().err.splitlines() if "tried so far" in line]
    assert len(warnings) == 1
    assert "2 are beyond constraints.max_latency_ms=1, the least is 3" in warnings[0]


@pytest.mark.parametrize(
    ("executor", "said"),
    [("serial", "stopped before a latency was measured"), ("process", "with 1 of its trials in progress")],
)
def test_a_search_for_a_low_latency_can_be_stopped_and_resumed(
    executor: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = list[str]()

    def slow(_space: object, arch: object, *_: object) -> float:
        measured.append(str(arch))
        if len(measured) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return 3.0 if len(measured) in (2, 3) else 1.0

    monkeypatch.setattr("nasmeta.run.constraints.measure_latency", slow)
    run = tmp_path / "run"
    options = [*TINY, f"executor={executor}", "constraints.max_latency_ms=2"]
    assert main(["search", *options, f"hydra.run.dir={run}"]) == 130
    assert len(measured) == 3
    assert said in capsys.readouterr().err
    assert main(["resume", str(run)]) == 0
    assert len(measured) == len(set(measured))


def test_a_table_of_few_rows_says_how_many_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_benchmark(tmp_path / "t.csv", [(cell, 80.0 + i, 90.0) for i, cell in enumerate(CELLS[:1])])
    run = tmp_path / "run"
    options = ["search_space=nasbench201", "evaluator=tabular", f"evaluator.table={table}", "strategy=random"]
    assert main(["search", *options, f"hydra.run.dir={run}"]) == 2
    assert not run.exists()
    line = capsys.readouterr().err
    assert "evaluator.table has 1 " in line
    assert "constraints." not in line


def test_networks_that_tasks_take_themselves_have_no_limits() -> None:
    with pytest.raises(ConfigError, match=r"constraints\.max_params: with strategy meta_differentiable"):
        composition("experiment=tnas_quick", "dataset=strokes", "constraints.max_params=10")
