"""`nasmeta bench`, and the scripts of scripts/bench that need no data and no peers."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from nasmeta.cli import bench
from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.policy import Statistics
from nasmeta.run.composition import Composition
from tests import scripts

ROOT = Path(__file__).parents[2]
SMALL = ["dataset.train_classes=10", "task.query=2", "task.meta_batch=2", "dataset.size=16"]
QUICK = ["--seconds", "0", "--repeats", "2"]
ARCH = "conv3-8.bn.relu.max_conv3-8.bn.relu.max_gap"


def test_one_json_object_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json", *QUICK, "--arch", ARCH, "meta_learner=maml", "device=cpu", *SMALL]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["what"] for row in rows] == [
        "meta-training",
        "meta-training, sampling included",
        "evaluation",
    ]
    for row in rows:
        assert row["arch"] == ARCH
        assert (row["kernels"], row["precision"]) == ("torch", "fp32"), "what auto stands for on a CPU"
        assert row["repeats"] >= 2
        assert 0 < row["slowest"] <= row["tasks_per_second"] <= row["fastest"]
        assert row["share"] == pytest.approx(
            row["flops"] * row["tasks_per_second"] / (1e9 * row["matmul_gflops"])
        )
        assert row["peak_mib"] > 10
    assert rows[0]["flops"] > rows[2]["flops"], "training takes derivatives of the query loss too"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_table(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *QUICK, "--arch", ARCH, *SMALL, f"precision={precision}"]) == 0
    text = capsys.readouterr().out
    assert ARCH in text
    assert "5-way 1-shot" in text
    assert f"precision {precision}" in text
    assert "tasks/s" in text


@pytest.mark.extra("triton")
def test_operations_are_counted_whatever_computes_them() -> None:
    counts = []
    for kernels in ("torch", "triton"):
        keys = [*SMALL, "meta_learner=fomaml", "task_parallel=vmap", "device=cpu", f"kernels={kernels}"]
        problem = Composition.of(parse(composed(keys), trusted=True)).problem
        arch = problem.space.parse(ARCH)
        state, batch = problem.initial_state(arch), problem.train.batch(0, 2)
        counts.append(bench._flops_of_a_task(problem, arch, state, batch, batch))
    assert counts[0] == counts[1]


def test_population_statistics_are_there_before_evaluation_is_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions used to record the moments of every batch instead: slower, and never freed."""
    taken: list[Statistics] = []
    of = MetaLearner.statistics

    def spy(self: MetaLearner, state: MetaState, *, test: bool, **options: int) -> Statistics:
        statistics = of(self, state, test=test, **options)
        taken.extend([statistics] if test else [])
        return statistics

    monkeypatch.setattr(MetaLearner, "statistics", spy)
    assert main(["bench", *QUICK, "--arch", ARCH, *SMALL, "batch_norm=running"]) == 0
    assert "batch_norm running" in capsys.readouterr().out
    assert [s.population for s in taken] == sorted(s.population for s in taken), "recorded once, at first"
    assert taken[-1].population


@pytest.mark.parametrize(
    "arguments, message", [(["--arch", "conv3-8"], "conv3-8"), (["task.meta_bach=2"], "task.meta_batch")]
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *QUICK, *SMALL, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, least", [("--seconds=nan", 0), ("--seconds=inf", 0), ("--seconds=-3", 0), ("--repeats=0", 1)]
)
def test_numbers_that_end_no_bench(arguments: str, least: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *SMALL, arguments])
    assert ended.value.code == 2
    assert f"at least {least}" in capsys.readouterr().err


def test_the_bench_of_a_gpu_has_a_row_for_each_choice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, where it only shows that it runs."""
    choices = ["--learners", "protonet", "--precisions", "fp32", "--meta-batches", "1", "--seconds", "0"]
    few = [*(f"dataset.{split}_classes=10" for split in ("train", "valid", "test")), "dataset.size=16"]
    keys = [*few, "search_space.widths=[8]", "task.query=1"]
    monkeypatch.setattr(
        "sys.argv", ["gpu.py", "--device", "cpu", *choices, "--kernels", "torch", "--", *keys]
    )
    scripts.load("bench/gpu.py").main()
    row = capsys.readouterr().out.splitlines()[-1].split("|")
    assert [cell.strip() for cell in row[1:6]] == ["protonet", "fp32", "1", "torch", "auto"]
    assert all(float(cell.replace(",", "")) > 0 for cell in row[6:9])


def test_benchmark_peers_goes_on_with_the_peers_it_finds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--widths=8", "--tasks=2", "--passes=1", "--repeats=1", "--seconds=0", "--threads=1"]
    monkeypatch.setattr(sys, "argv", ["benchmark_peers", *options, "--only", "Reptile"])
    runpy.run_path(str(ROOT / "scripts/benchmark_peers"), run_name="__main__")
    out = capsys.readouterr().out
    assert "Reptile, 5 steps of 10" in out
    assert "(plain loop)" in out
