"""`nasmeta doctor` finds what is wrong before a run does."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from nasmeta.cli import doctor
from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.meta_learners.gradients import Gradients
from nasmeta.meta_learners.task_architecture import TaskArchitecture
from nasmeta.networks.execution import Execution
from nasmeta.run.composition import Composition
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE
from nasmeta.search_spaces.relaxation.spec import Adaptation
from nasmeta.testing.meta_learners import BlobSampler, conv_network, init
from nasmeta.training.gradient_check import gradient_error, is_derivative
from tests.evaluators.tables import write_few_shot
from tests.meta_learners.options import LEARNERS, learner

SMALL = [
    *("dataset.train_classes=10", "dataset.valid_classes=5", "dataset.test_classes=5", "dataset.size=16"),
    *("task.query=2", "task.meta_batch=2", "search_space.widths=[8,12]"),
]


def findings(capsys: pytest.CaptureFixture[str], *overrides: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main(["doctor", "--json", *overrides])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, {row["what"]: row for row in rows}


def test_a_run_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = findings(capsys, *SMALL, "device=cpu")
    assert code == 0
    assert "kernels torch, precision fp32" in found["device"]["text"]
    assert {"versions", "device", "outputs", "data", "meta-gradient", "cost"} <= set(found)
    assert torch.__version__.split("+")[0] in found["versions"]["text"]
    assert "train: 10 classes" in found["data"]["text"]


def test_data_that_is_missing_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = findings(capsys, "dataset=omniglot", f"dataset.root={tmp_path}", "dataset.download=false")
    assert code == 1
    wrong = [row for row in found.values() if row["status"] == "wrong"]
    assert [str(tmp_path) in row["text"] for row in wrong] == [True]
    assert "cost" not in found


def test_wrong_overrides_are_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "budget.trails=3"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "budget.trails" in err
    assert len(err.splitlines()) == 1


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outputs").write_text("a file")
    monkeypatch.chdir(tmp_path)
    code, found = findings(capsys, *SMALL)
    assert code == 1
    assert found["outputs"]["status"] == "wrong"


def test_a_looked_up_result_needs_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch = "conv3-8.bn.relu.max_conv3-8.bn.relu.max_gap"
    table = write_few_shot(tmp_path / "table.csv", [arch], iterations=(3, 4))
    budget = ("budget.search_iterations=3", "budget.final_iterations=4")
    _, found = findings(capsys, "evaluator=tabular", f"evaluator.table={table}", *budget)
    assert found["table"]["status"] == "ok"
    assert "cost" not in found


def test_the_network_of_a_search_that_adapts_to_every_task_is_the_relaxed_one() -> None:
    adaptive = Composition.of(parse(composed(["experiment=tnas_quick", "dataset=strokes"]), trusted=True))
    assert doctor._network(adaptive) == ADAPTIVE


def test_an_adapting_architecture_is_of_first_order_if_its_learner_is() -> None:
    adaptation = Adaptation(1.0, 1.0, 0, 1.0, 1.0, 0)
    ones = {name: TaskArchitecture(learner(name, "support"), adaptation) for name in ("maml", "fomaml")}
    assert {name: is_derivative(one) for name, one in ones.items()} == {"maml": True, "fomaml": False}


@pytest.mark.parametrize("task_parallel", ["loop", "vmap"])
@pytest.mark.parametrize("name", LEARNERS)
def test_derivatives_are_told_from_wrong_ones(name: str, task_parallel: Literal["loop", "vmap"]) -> None:
    """The check passes every learner that has a derivative, and sees one that is a hundredth too long."""
    one = learner(name, "support")
    if not is_derivative(one):
        return
    batch = BlobSampler("train", way=one.train_way or 5, shot=2, query=2).batch(0, 2)
    state = init(one, conv_network(width=3))
    state.network.execution = Execution(task_parallel)
    assert gradient_error(one, state, batch) < 1e-6

    def longer(*arguments: Any) -> Gradients:
        gradients, metrics = type(one).meta_gradient(one, *arguments)
        return {key: 1.01 * value for key, value in gradients.items()}, metrics

    one.meta_gradient = longer  # type: ignore[method-assign]
    assert gradient_error(one, init(one, conv_network(width=3)), batch) == pytest.approx(0.01, rel=0.01)
