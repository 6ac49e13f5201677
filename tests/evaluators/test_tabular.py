"""Tables: what is read, what is refused and how, whole runs on them, and the simulated clock."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError
from nasmeta.evaluators.tabular.open_table import open_table
from nasmeta.evaluators.tabular.table import Validated
from nasmeta.run.composition import Composition
from nasmeta.trial import Cost, MetaTested
from tests.evaluators.tables import HEADER, few_shot_row, write_benchmark, write_few_shot

RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
CELLS = [RESNET.replace("none~1", f"{op}~1") for op in ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")]
RUN = [
    "search_space=nasbench201",
    "evaluator=tabular",
    "device=cpu",
    "logger=none",
    "progress=false",
    "budget.trials=40",
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark's table of every cell, whose validation accuracy is 50 + the number of 3x3 convolutions."""
    from nasmeta.search_spaces.nasbench201 import Nasbench201Space

    space = Nasbench201Space(width=4, stages=1, repeats=1)
    seen, front = {space.initial()}, [space.initial()]
    while front:
        front = [n for arch in front for n in space.neighbors(arch) if n not in seen and not seen.add(n)]  # type: ignore[func-returns-value]
    rows = [(str(a), 50.0 + str(a).count("nor_conv_3x3"), 70.0 + str(a).count("skip")) for a in seen]
    return write_benchmark(tmp_path_factory.mktemp("benchmark") / "cells.csv", rows)


def search(directory: Path, table: Path, *overrides: str) -> int:
    return main(["search", *RUN, f"evaluator.table={table}", f"hydra.run.dir={directory}", *overrides])


# Reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows,column", [([("a", 0.83, 93.6)], "valid_acc_12"), ([("a", 83, 1)], "test_acc_200")]
)
def test_fractions_do_not_pass_as_percentages(
    rows: list[tuple[str, float, float]], column: str, tmp_path: Path
) -> None:
    path = write_benchmark(tmp_path / "t.csv", rows)
    with pytest.raises(ConfigError, match=rf"t\.csv: {column}: .*percentages: multiply fractions by 100"):
        open_table(path, None, None)


def test_the_benchmarks_columns_are_percentages(tmp_path: Path) -> None:
    path = write_benchmark(tmp_path / "t.csv", [("a", 0.5, 94.37), ("b", 84, 0.9)])
    table = open_table(path, None, None)
    assert table.valid("a", 12345) == Validated(0.005)
    assert (table.test("a", 1).accuracy, table.test("a", 1).ci95) == (pytest.approx(0.9437), None)
    assert table.test("b", 1).accuracy == pytest.approx(0.009)
    assert table.valid("c", 1) is None
    assert (table.budgets, table.has_costs, table.cost("a")) == (None, False, None)


def test_the_benchmarks_further_columns_in_any_order(tmp_path: Path) -> None:
    header = "flops,test_acc_200,arch,seconds,params,valid_acc_12"
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\n30,90,a,7.5,20,80\n")
    table = open_table(path, None, None)
    assert table.valid("a", 1) == Validated(0.8, seconds=7.5)
    assert table.cost("a") == Cost(params=20, flops=30)


def test_the_few_shot_tables_rows_are_chosen_by_learner_dataset_and_budget(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [few_shot_row("a", 1), few_shot_row("a", 2, "maml"), few_shot_row("a", 3, "maml", iterations=9)]
    path.write_text("\n".join([HEADER, *rows]))
    table = open_table(path, "maml", None)
    assert table.budgets == (3, 9)
    assert table.valid("a", 3) == Validated(0.002, 0.01, 2.5)
    assert table.valid("a", 9) == Validated(0.003, 0.01, 2.5)
    assert table.test("a", 9) == MetaTested(0.9003, None)
    assert table.valid("a", 4) is None
    assert table.cost("a") == Cost(4, 20)


THREE = "arch,valid_acc_12,test_acc_200"
BAD = [
    ("arch,valid_acc_12\na,50", r"'test_acc_200'.* arch,valid_acc_12"),
    (f"{THREE},secnds\na,5,5,5", r"secnds: .*'seconds'"),
    (f"{THREE},params\na,5,5,5", r"params and flops"),
    (f"arch,{THREE}\na,a,5,5", r"'arch' twice"),
    ("arch,accuracy\na,50", r"'learner'.* arch,accuracy"),
    (f"{THREE}\n", r"no rows"),
    ("", r"no rows"),
    (f"{THREE}\na,5,5\nb,x,5\nc,5", r"line 3: valid_acc_12: got 'x'"),
    (f"{THREE}\nc,5", r"line 2: 2 cells.* 3"),
    (f"{THREE}\n,1,1", r"line 2: arch: got ''"),
    (f"{THREE}\nd,nan,5", r"line 2: valid_acc_12: got 'nan'"),
    (f"{THREE}\ne,101,5", r"line 2: valid_acc_12: got '101'.* 100"),
    (f"{THREE}\nf,-1,0", r"line 2: valid_acc_12: got '-1'.* 0"),
    (f"{THREE}\na,5,5\n\nb,5,5\na,6,6", r"lines 2 and 5 .* a"),
    (f"{HEADER}\na,l,d,3,93,,0.5,,1,1,1", r"line 2: valid_accuracy: got '93'.* 1"),
    (f"{HEADER}\na,l,d,3.5,0.3,,0.5,,1,1,1", r"line 2: iterations: got '3\.5'"),
    (f"{HEADER}\na,l,d,3,0.3,,0.5,,1,1,inf", r"line 2: seconds: got 'inf'"),
    (f"{HEADER}\n{few_shot_row('a', 1)}\n{few_shot_row('a', 2)}", r"lines 2 and 3 .* a after 3 iter"),
    (f"{THREE}\n\xe9,5,5", r"not a CSV file"),
]


@pytest.mark.parametrize("text,message", BAD, ids=range(len(BAD)))
def test_bad_tables_are_refused_by_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=rf"^evaluator\.table: {path}: .*{message}"):
        open_table(path, None, None)


def test_which_rows_must_be_clear(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join([HEADER, few_shot_row("a", 1), few_shot_row("a", 2, "maml")]))
    with pytest.raises(ConfigError, match=r"evaluator\.learner: .* has rows of maml, protonet; choose"):
        open_table(path, None, None)
    with pytest.raises(
        ConfigError, match=r"evaluator\.learner: .* no rows of 'fomaml'; did you mean 'maml'\?"
    ):
        open_table(path, "fomaml", None)
    with pytest.raises(
        ConfigError, match=r"evaluator\.dataset: .* no rows of 'strkes'; did you mean 'strokes'"
    ):
        open_table(path, "maml", "strkes")
    benchmark = write_benchmark(tmp_path / "b.csv", [("a", 1, 2)])
    with pytest.raises(ConfigError, match=r"evaluator\.dataset: got 'cifar10', and .* has no datasets"):
        open_table(benchmark, None, "cifar10")
    with pytest.raises(ConfigError, match=r"evaluator\.table: .*nowhere\.csv: no such file"):
        open_table(tmp_path / "nowhere.csv", None, None)


# Refused before the run starts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides,message",
    [
        (["search_space=conv"], r"evaluator\.table: .*: no row is of search_space=conv: block 1"),
        (["constraints.max_params=9"], r"constraints\.max_params: .*does not know the params"),
        (["constraints.max_flops=9"], r"constraints\.max_flops: .*does not know the flops"),
        (["constraints.max_latency_ms=9"], r"constraints\.max_latency_ms: .*does not know the latency"),
        (["dataset=sinusoid", "meta_learner=maml"], r"^evaluator: .*regression; use dataset="),
        (["evaluator.seconds_per_iteration=-1"], r"evaluator\.seconds_per_iteration: got -1"),
    ],
)
def test_compositions_that_make_no_sense(cells: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Composition.of(parse(composed([*RUN, f"evaluator.table={cells}", *overrides]), trusted=True))


def test_budgets_that_the_table_lacks(tmp_path: Path) -> None:
    table = write_few_shot(tmp_path / "t.csv", CELLS, iterations=[50, 200])
    values = [*RUN, f"evaluator.table={table}"]
    with pytest.raises(
        ConfigError,
        match=r"budget\.search_iterations: .* 60 .* 50, 200 is 50",
    ):
        Composition.of(parse(composed([*values, "budget.search_iterations=60"]), trusted=True))
    options = ["budget.search_iterations=50", "budget.final_iterations=300"]
    with pytest.raises(ConfigError, match=r"budget\.final_iterations: .* 300 .* 200"):
        Composition.of(parse(composed([*values, *options]), trusted=True))


def test_a_wrong_table_leaves_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path / "run", tmp_path / "none.csv") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


# Whole runs --------------------------------------------------------------------------------------------


def test_a_run_ends_with_the_tables_numbers(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    assert search(directory, cells) == 0
    out = capsys.readouterr().out
    summary: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    best, reference = summary["best"], summary["reference"]
    assert best["valid_accuracy"] == (50 + best["arch"].count("nor_conv_3x3")) / 100
    assert best["test_accuracy"] == (70 + best["arch"].count("skip")) / 100
    assert reference["arch"] == RESNET
    assert (reference["valid_accuracy"], reference["test_accuracy"]) == (0.52, 0.72)
    assert best["test_ci95"] is best["params"] is best["batch_norm"] is summary["difference"] is None
    assert summary["trained"] is False
    assert summary["simulated_seconds"] == 40 * 40.0
    assert "No network was trained: accuracies are those of the table" in out
    assert "nasmeta evaluate" not in out
    assert not (directory / "best.pt").exists()

    for path in (directory, directory / "best.pt"):
        assert main(["evaluate", str(path)]) == 2
    assert "trains no network" in capsys.readouterr().err
    assert main(["resume", str(directory)]) == 0
    assert json.loads((directory / "summary.json").read_text()) == summary


def test_what_has_no_row_is_not_proposed_and_a_missing_reference_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nasmeta.search_spaces.nasbench201 import Nasbench201Space

    space = Nasbench201Space(width=4, stages=1, repeats=1)
    start = str(space.initial())
    known = [str(arch) for arch in space.neighbors(space.parse(start))]
    table = write_benchmark(
        tmp_path / "t.csv", [(arch, 50 + i, 60) for i, arch in enumerate([start, *known])]
    )
    options = ["strategy.start=initial", "strategy.population_size=3", "strategy.sample_size=3"]
    assert search(tmp_path / "run", table, *options) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["trials"], summary["failed_trials"]) == (40, 0)
    assert summary["best"]["arch"] in [start, *known]
    said = capsys.readouterr().out
    assert "could not be judged, so nothing is compared: " in said
    assert f"evaluator.table has {1 + len(known)} rows" in said
    assert RESNET in said
    assert summary["reference"]["params"] is None


def test_the_tables_that_come_along_are_found_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["search_space=conv_small", "evaluator.learner=protonet", "evaluator.dataset=strokes"]
    budgets = ["budget.search_iterations=300", "budget.final_iterations=300"]
    assert search(tmp_path / "run", Path("fewshot_conv"), *names, *budgets) == 0
    assert '"table": "fewshot_conv"' in (tmp_path / "run" / "config.json").read_text()
    assert search(tmp_path / "other", Path("fewshot_con"), *names) == 2
    assert "no such file; did you mean 'fewshot_conv'? (comes along)" in capsys.readouterr().err


def test_the_clock_is_the_tables(cells: Path, tmp_path: Path) -> None:
    """Trials of 40 iterations at 2 s each: the thirteenth ends at 1,040 s, and no more begins."""
    limits = ["budget.max_seconds=1000", "evaluator.seconds_per_iteration=2"]
    assert search(tmp_path / "a", cells, *limits) == 0
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["trials"] == 13
    assert summary["simulated_seconds"] == 1040
    assert summary["wall_seconds"] < 300


def test_limits_hold_by_the_tables_costs(tmp_path: Path) -> None:
    table = write_few_shot(tmp_path / "t.csv", [RESNET, *CELLS], iterations=[40, 200])
    options = ["constraints.max_params=2", "strategy=random", "~strategy.population_size"]
    values = composed([*RUN, f"evaluator.table={table}", *options[:2]])
    composition = Composition.of(parse(values, trusted=True))
    evaluator = composition.evaluator(composition.problem)
    from nasmeta.run.constraints import Constraints
    from nasmeta.run.state import RunState

    state = RunState()
    feasible = Constraints(composition, evaluator, state, state.apply).feasible
    assert [feasible(composition.space.parse(arch)) for arch in (RESNET, *CELLS)] == [
        True,
        True,
        False,
        False,
    ]
    assert not feasible(composition.space.initial()), "of unknown cost"


@pytest.mark.slow
def test_a_thousand_trials_take_seconds(cells: Path, tmp_path: Path) -> None:
    before = time.process_time()
    assert search(tmp_path / "run", cells, "budget.trials=1000") == 0
    assert time.process_time() - before < 10


# NATS-Bench --------------------------------------------------------------------------------------------


class FakeNats:
    """Imitates what we use of nats_bench 1.8's NATStopology."""

    meta_archs = [RESNET, *CELLS]  # noqa: RUF012

    def query_index_by_arch(self, arch: Any) -> int:
        return self.meta_archs.index(arch) if arch in self.meta_archs else -1

    def get_more_info(
        self, index: int, dataset: str, iepoch: Any = None, hp: str = "12", is_random: bool = True
    ) -> Any:
        assert iepoch is None
        assert is_random is False
        info = {"train-all-time": 10.0 * int(hp), "test-accuracy": 90.0 + index + int(hp) / 1000}
        if dataset == "cifar10":  # trained on the validation half too: there is nothing to validate on
            return info
        return {**info, "valid-accuracy": 80.0 + index, "valid-per-time": 2.0}

    def get_cost_info(self, index: int, dataset: str, hp: str = "12") -> Any:
        return {"params": 0.25 + index, "flops": 30.5, "latency": 0.01}


@pytest.fixture
def fake_nats(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    def create(path: str, space: str, fast_mode: bool = False, verbose: bool = True) -> FakeNats:
        calls.append((Path(path).name, space, fast_mode, verbose))
        return FakeNats()

    monkeypatch.setitem(sys.modules, "nats_bench", SimpleNamespace(create=create))  # type: ignore[arg-type]
    return calls


def test_nats_bench_through_its_package(tmp_path: Path, fake_nats: list[Any]) -> None:
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    table = open_table(folder, None, "cifar10")
    assert fake_nats == [(folder.name, "topology", True, False)]
    assert table.budgets == (12, 200)
    assert table.valid(CELLS[0], 12) == Validated(0.81, seconds=122.0)
    assert table.test(CELLS[0], 200) == MetaTested(0.912, None)
    assert table.cost(CELLS[0]) == Cost(1_250_000, 30_500_000)
    assert table.valid(CELLS[0], 40) is table.valid("|x|", 12) is table.cost("|x|") is None
    with pytest.raises(ConfigError, match=r"evaluator\.dataset: got 'cifar', .* did you mean 'cifar10"):
        open_table(folder, None, "cifar")
    with pytest.raises(ConfigError, match=r"evaluator\.learner: got 'maml', and .* has no learners"):
        open_table(folder, "maml", "cifar10")


def test_a_run_on_nats_bench(tmp_path: Path, fake_nats: list[Any]) -> None:
    file = tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
    file.write_bytes(b"")
    options = ["evaluator.dataset=cifar100", "budget.search_iterations=12", "strategy.start=reference"]
    assert search(tmp_path / "run", file, *options) == 0
    assert fake_nats[0][2] is False
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["reference"]["test_accuracy"] == pytest.approx(0.902)
    assert summary["reference"]["train_seconds"] == 2002.0


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats_bench", None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r'evaluator\.table: .*: pip install "nasmeta\[nats\]"'):
        open_table(tmp_path, None, "cifar10")
