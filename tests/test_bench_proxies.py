"""scripts/bench/proxies.py: known correlations, and a run on a small table."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nasmeta import seeding
from nasmeta.config.overrides import composed
from tests.evaluators.tables import write_few_shot
from tests.scripts import load_beside


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_beside("bench/proxies.py")


def test_perfect_reversed_and_unrelated_proxies(script: ModuleType) -> None:
    rng = np.random.default_rng(1)
    accuracies = rng.random(60).tolist()
    values = {
        "params": rng.random(60).tolist(),
        "same": [a**3 for a in accuracies],
        "reversed": [-a for a in accuracies],
        "broken": [float("nan")] * 60,
    }
    lines = {line.proxy: line for line in script.worth(values, dict.fromkeys(values, 0.1), accuracies, 200)}
    assert next(iter(lines)) == "same"
    assert (lines["same"].tau, lines["reversed"].tau) == (pytest.approx(1), pytest.approx(-1))
    low, high = lines["params"].interval
    assert low < 0 < high
    assert low < lines["params"].tau < high
    assert lines["params"].over_params_interval == (0, 0)
    assert (lines["broken"].tau, lines["broken"].not_finite) == (0, 60)
    assert lines["same"].over_params == pytest.approx(1 - lines["params"].tau)


def test_a_run(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nasmeta.config.schema import parse

    small = ["search_space.max_blocks=2", "search_space.max_downsamples=2"]
    space = parse(composed(small), trusted=False).build("search_space")
    rng = seeding.stream(0, "test")
    archs = [str(space.sample(rng)) for _ in range(5)]
    table = write_few_shot(tmp_path / "t.csv", archs)
    arguments = ["--table", str(table), "--iterations", "3", "--resamples", "20", "--json"]
    arguments += ["--proxy", "synflow", "--proxy", "snip", "--proxy", "flops"]
    overrides = [
        *small,
        "dataset.train_classes=10",
        "task.query=2",
        "evaluator.batches=1",
    ]
    monkeypatch.setattr(sys, "argv", ["proxies.py", *arguments, *overrides])
    script.main()
    lines = {line["proxy"]: line for line in json.loads(capsys.readouterr().out)}
    assert lines.keys() == {"params", "synflow", "snip", "flops", "vote"}
    assert all(-1 <= line["interval"][0] <= line["interval"][1] <= 1 for line in lines.values())
    assert lines["flops"]["not_finite"] == 0
